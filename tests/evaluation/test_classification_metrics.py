"""Classification metrics against scikit-learn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from sklearn import metrics as peer

from tunepipe.errors import UsageError
from tunepipe.evaluation.classification_metrics import OTHER, confusion, measure
from tunepipe.evaluation.tasks import MAX_LABELS

LABELS = ["billing", "refund", "その他", "yes"]
pairs = st.lists(
    st.tuples(st.sampled_from([*LABELS, "gibberish", ""]), st.sampled_from(LABELS)),
    min_size=1,
    max_size=40,
)


def values(predictions, references):
    return {metric.name: metric.value for metric in measure(predictions, references)}


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_all_numbers_are_scikit_learns(rows):
    predictions, references = map(list, zip(*rows, strict=True))
    labels = sorted(set(references))
    known = {"labels": labels, "zero_division": 0.0}
    ours, (table, classes) = values(predictions, references), confusion(predictions, references)
    assert ours["accuracy"] == pytest.approx(peer.accuracy_score(references, predictions))
    assert ours["macro_f1"] == pytest.approx(
        peer.f1_score(references, predictions, average="macro", **known)
    )
    by_class = peer.precision_recall_fscore_support(references, predictions, **known)
    found = [[getattr(line, key) for line in classes] for key in ("precision", "recall", "f1")]
    assert found == [pytest.approx(column.tolist()) for column in by_class[:3]]
    assert [line.support for line in classes] == by_class[3].tolist()
    answered = [label if label in labels else OTHER for label in predictions]
    columns = [*labels, OTHER] if OTHER in answered else labels
    assert table.labels == columns
    assert table.matrix == peer.confusion_matrix(references, answered, labels=columns).tolist()


def test_a_label_is_the_same_in_another_case_width_or_spacing():
    assert values([" YES\n", "ｙｅｓ", "no"], ["Yes", "yes", "No "]) == {
        "accuracy": 1,
        "macro_f1": 1,
    }
    assert confusion(["yes", "no"], ["Yes", "No "])[0].labels == ["No", "Yes"]


def test_kfp_gets_a_square_matrix():
    without, _ = confusion(["a", "a", "b"], ["a", "b", "b"])
    assert asdict(without) == {"labels": ["a", "b"], "matrix": [[1, 0], [1, 1]]}
    strange, _ = confusion(["a", "what?"], ["a", "b"])
    assert asdict(strange) == {
        "labels": ["a", "b", OTHER],
        "matrix": [[1, 0, 0], [0, 0, 1], [0, 0, 0]],
    }


def test_too_many_labels_are_refused():
    references = [str(number) for number in range(MAX_LABELS + 1)]
    assert len(confusion(references[1:], references[1:])[0].labels) == MAX_LABELS
    with pytest.raises(UsageError, match="different labels"):
        measure(references, references)
