"""Identities that must stay the same in every release: claims and caches are kept by them."""

import hashlib
import io

from tunepipe.data.fingerprint import combined, digest_of, fingerprint


def test_identities_stay_the_same():
    one, other = (hashlib.sha256(data).hexdigest() for data in (b"a", b"b"))
    assert fingerprint(io.BytesIO(b"a")) == combined([one]) == one
    both = hashlib.sha256("\n".join(sorted([one, other])).encode()).hexdigest()
    assert combined([one, other]) == combined([other, one]) == both
    whole = hashlib.sha256(b'{"a": 1, "b": [2]}').hexdigest()
    assert digest_of({"b": [2], "a": 1}) == whole
    assert digest_of({"b": [2], "a": 1}, 8) == whole[:8]
