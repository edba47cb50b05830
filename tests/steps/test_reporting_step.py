"""The pictures of a report: how many bytes and files of them a page holds."""

import base64

import pytest

from tests.standin.session import BUCKET
from tunepipe.steps.reporting import FILES, PAGE_BYTES, PICTURE_BYTES, Thumbnails

KIND = "image/png"


def picture(size: int) -> dict[str, str]:
    return {"mime_type": KIND, "data": "A" * size}


def shown(thumbnails: Thumbnails, *files: object) -> list[bool]:
    return [bool(file["image"]) for file in thumbnails.shown(list(files))]


def test_a_picture_is_shown_as_it_is():
    file = {"mime_type": KIND, "uri": "gs://b/a.png", "data": "AAAA"}
    image = f"data:{KIND};base64,AAAA"
    assert Thumbnails().shown([file]) == [
        {"mime_type": KIND, "uri": "gs://b/a.png", "image": image}
    ]


@pytest.mark.parametrize(
    ("media", "images"),
    [
        (None, []),
        ("AAAA", []),
        (["AAAA", picture(4)], [True]),
        ([{"mime_type": "text/html", "data": "AAAA"}], [False]),
        ([{"mime_type": KIND, "data": "<>"}], [False]),
        ([{"mime_type": KIND}], [False]),
        ([{"mime_type": KIND, "uri": "/etc/passwd"}], [False]),
        ([picture(PICTURE_BYTES)], [True]),
        ([picture(PICTURE_BYTES + 4)], [False]),
    ],
)
def test_what_is_shown(media, images):
    assert [bool(file["image"]) for file in Thumbnails().shown(media)] == images


def test_a_page_holds_so_many_bytes():
    thumbnails, count = Thumbnails(), PAGE_BYTES // PICTURE_BYTES
    assert shown(thumbnails, *[picture(PICTURE_BYTES)] * count) == [True] * count
    assert shown(thumbnails, picture(4)) == [False]


def test_a_page_reads_so_many_files_and_none_that_is_too_large(cloud):
    folder = cloud.buckets / BUCKET
    most = PICTURE_BYTES * 3 // 4
    (folder / "fits.png").write_bytes(b"\0" * most)
    (folder / "large.png").write_bytes(b"\0" * (most + 3))
    thumbnails = Thumbnails()

    def file(name: str) -> dict[str, str]:
        return {"mime_type": KIND, "uri": f"gs://{BUCKET}/{name}.png"}

    (read,) = thumbnails.shown([file("fits")])
    assert read["image"] == f"data:{KIND};base64,{base64.b64encode(bytes(most)).decode()}"
    assert shown(thumbnails, file("large"), file("missing")) == [False, False]
    thumbnails._files_left = 1
    assert shown(thumbnails, file("fits"), file("fits")) == [True, False]
    assert Thumbnails()._files_left == FILES == 100
