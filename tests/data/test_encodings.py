"""Which encoding bytes are in, and which one misread a text: tables of cases."""

import pytest

from tunepipe.data.encodings import (
    describe_not_utf8,
    encoding_of_mark,
    find_mojibake,
    guess_encoding,
    name_of,
)


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"\xff\xfe\0\0a\0\0\0", "utf-32"),
        (b"\0\0\xfe\xff\0\0\0a", "utf-32"),
        (b"\xff\xfea\0", "utf-16"),
        (b"\xfe\xff\0a", "utf-16"),
        (b"a\0b\0", "utf-16-le"),
        (b"\0a\0b", "utf-16-be"),
        (b"a\0b", ""),
        (b"abcd", ""),
        (b"a\0bcdefg", ""),
        (b"a\0b\0cdef", ""),
        (b"\0a\0bcdef", ""),
        (b"a\0b\0c\0de", "utf-16-le"),
        (b"\0a\0b\0cde", "utf-16-be"),
        (b"a" * 64 + b"\0" * 64, ""),
        (b"\0" * 64, ""),
        (b"\x10\0\0\0\0\0\0\0abcd", ""),
    ],
)
def test_the_encoding_of_a_mark_or_of_zero_bytes(head, encoding):
    assert encoding_of_mark(head) == encoding


@pytest.mark.parametrize(
    ("text", "written", "guessed"),
    [
        ("Größe", "utf-8", "utf-8"),
        ("Größe", "cp1252", "cp1252"),
        ("Größe", "utf-16", "utf-16"),
        ("お茶をください", "cp932", "cp932"),
        ("お茶をください", "euc-jp", "euc-jp"),
        ("注文番号", "cp932", "cp932"),
        ("注", "cp932", ""),
        ("注文", "cp932", "cp932"),
        # Without kana these bytes could be Chinese or Korean.
        ("注文番号", "euc-jp", ""),
        ("OK注文番号", "euc-jp", ""),
        ("OK注文番号です", "euc-jp", "euc-jp"),
        ("\x81", "latin-1", ""),
        ("\x01あ", "cp932", ""),
        # Half-width letters are what other bytes often look like.
        ("ああｱ", "cp932", "cp932"),
        ("ああｱｱｱｱ", "cp932", "cp932"),
        ("ﾃﾚﾋﾞｶﾞﾈを買う", "cp932", "cp932"),
        *(
            (text, codec, "" if codec == "cp932" and len(text) < 8 else codec)
            for codec in ("cp932", "euc-jp")
            for text in ("ﾆﾓﾂﾊﾄﾞｺﾃﾞｽｶ", "A,ｵｵｻｶｼ ﾁｭｳｵｳｸ", "ﾆﾓﾂ")
        ),
        ("ｶﾞｷﾞｸﾞﾝﾞﾅﾆﾇﾈ", "cp932", ""),
        ("注文番号です", "iso2022_jp", "iso2022_jp"),
        # What is not sure is not guessed: no bytes of these are wrong in other encodings.
        *(
            (text, codec, "")
            for text, codecs in {
                "소포는 어디에 있습니까": ("euc-kr", "cp949"),
                "包裹在哪里，编号是多少？": ("gb18030",),
                "包裹在哪裡，編號是多少？": ("big5",),
                "Где посылка номер": ("cp1251", "koi8-r"),
                "ГДЕ ПОСЫЛКА": ("cp1251",),
                "где посылка": ("koi8-r",),
                "Πού είναι": ("cp1253",),
            }.items()
            for codec in codecs
        ),
        *(
            (text, "cp1252", "cp1252")
            for text in (
                "Où est le colis déjà créé ?",
                "¿Dónde está?",
                "“It’s – 5 €”",
                "Jäääär, pää, ÇÀ",
            )
        ),
        ("ab\x01é.", "cp1252", ""),
    ],
)
def test_the_guess_of_an_encoding(text, written, guessed):
    assert guess_encoding(text.encode(written)) == guessed


def test_a_character_that_is_cut_off_changes_no_guess():
    assert guess_encoding("Größe".encode()[:3]) == "utf-8"
    assert guess_encoding("お茶をください".encode("cp932")[:-1]) == "cp932"


@pytest.mark.parametrize(
    ("line", "found", "fix"),
    [
        (b"ab\xe9 cd", "byte 3 of the line are not UTF-8; it may be Windows-1252", "cp1252"),
        (b"\xed\xa0\x80", "byte 1 of the line are not UTF-8: a surrogate is written as bytes", ""),
        (b"a\x81\x01", "byte 2 of the line are not UTF-8", ""),
        (b"a\xc3", "byte 2 of the line are not UTF-8", ""),
    ],
)
def test_what_is_said_of_bytes_that_are_not_utf_8(line, found, fix):
    with pytest.raises(UnicodeDecodeError) as caught:
        line.decode()
    command = f"tunepipe convert IN OUT --to FORMAT --encoding {fix}" if fix else ""
    assert describe_not_utf8(line, caught.value) == (f"the bytes from {found}", command)


@pytest.mark.parametrize(
    ("text", "misread"),
    [
        ("Größe".encode().decode("cp1252"), "cp1252"),
        ("Köln".encode().decode("cp1252"), "latin-1"),
        ("“Größe”".encode().decode("cp1252", "replace"), "cp1252"),
        ("お茶".encode().decode("latin-1"), "latin-1"),
        ("Ã¼ â‚¬", "cp1252"),
        ("Größe", ""),
        ("Â", ""),
    ],
)
def test_the_encoding_that_misread_a_text(text, misread):
    assert find_mojibake(text) == misread


def test_an_encoding_has_the_name_that_people_use():
    assert (name_of("cp1252"), name_of("koi8-r")) == ("Windows-1252", "koi8-r")
