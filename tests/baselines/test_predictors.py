"""Unimodal, multimodal and I2M2: cross-entropies of networks."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from primo_pyro.baselines import I2M2Classifier, MultimodalClassifier, UnimodalClassifier
from primo_pyro.data import make_xor
from primo_pyro.errors import ModalityError

SMALL = {"hidden_dim": 8, "max_epochs": 1, "random_state": 0}


def loss_and_program(classifier, rows, two_rows):
    program = classifier.fit(*rows).program_.double()
    x, y = two_rows
    return program(classifier._as_modalities(x), torch.as_tensor(y)).item(), program.model


def cross_entropy(logits, y):
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).sum()


def logits_of(model, x):
    return model.likelihood(model.encoder(x), {}).detach().numpy()


def test_unimodal_is_cross_entropy(rows, two_rows):
    loss, model = loss_and_program(UnimodalClassifier("o", **SMALL), rows, two_rows)
    x, y = two_rows
    assert loss == pytest.approx(cross_entropy(logits_of(model, x), y), rel=1e-12)


def test_multimodal_is_cross_entropy_with_zeros_for_what_is_absent(rows, two_rows):
    loss, model = loss_and_program(MultimodalClassifier(rows="all", **SMALL), rows, two_rows)
    x, y = two_rows
    h = model.encoder(x)
    assert (h.values["m"][1] == 0).all()
    assert loss == pytest.approx(cross_entropy(logits_of(model, x), y), rel=1e-12)


def test_i2m2_is_the_cross_entropy_of_the_renormalised_product(rows, two_rows):
    loss, model = loss_and_program(I2M2Classifier(**SMALL), rows, two_rows)
    x, y = two_rows
    o, m, joint = (np.exp(logits_of(net, x)) for net in (model.single["o"], model.single["m"], model.joint))
    normalised = [p / p.sum(1, keepdims=True) for p in (o, m, joint)]
    both = np.prod([p[0] for p in normalised], axis=0)
    without_m = normalised[0][1] * normalised[2][1]
    expected = -np.log(both[y[0]] / both.sum()) - np.log(without_m[y[1]] / without_m.sum())
    assert loss == pytest.approx(expected, rel=1e-12)


def test_unimodal_refuses_rows_without_its_modality(rows):
    x, y = rows
    with pytest.raises(ModalityError, match="needs modality 'm' in every row; it is absent in 24 of 48"):
        UnimodalClassifier("m", **SMALL).fit(x, y)
    with pytest.raises(ModalityError, match=r"'nose'.*absent in 48 of 48.*o, m"):
        UnimodalClassifier("nose", **SMALL).fit(x, y)
    classifier = UnimodalClassifier("o", **SMALL).fit(x, y)
    with pytest.raises(ModalityError, match="absent in 48 of 48"):
        classifier.predict_proba(x.drop("o"))


def test_multimodal_says_which_rows_it_takes(rows):
    x, y = rows
    with pytest.raises(ValueError, match="rows is 'some'; expected one of 'complete', 'all'"):
        MultimodalClassifier(rows="some").fit(x, y)
    either = x.drop("o", where=x.present["m"])
    with pytest.raises(ModalityError, match=r"None of \d+ rows has every modality"):
        MultimodalClassifier(**SMALL).fit(either, y)
    with pytest.raises(ModalityError, match=r"complete rows needs modality 'm'.*rows=\"all\""):
        MultimodalClassifier(**SMALL).fit(x, y).predict_proba(x)


@pytest.mark.parametrize(
    "classifier", [MultimodalClassifier(), pytest.param(I2M2Classifier(), marks=pytest.mark.slow)]
)
def test_xor_is_learnt_from_complete_rows(classifier):
    x, y = make_xor(6_000, random_state=0)
    x, y, x_test, y_test = x[:4000].drop_at_random("m", random_state=0), y[:4000], x[4000:], y[4000:]
    classifier = clone(classifier).set_params(max_epochs=8, batch_size=64, learning_rate=5e-3, random_state=0)
    accuracy = (classifier.fit(x, y).predict(x_test) == y_test).mean()
    # 2,000 complete rows; what is left to err about is a strip along the axes. A network that learnt one
    # modality alone reaches 0.66, and 2,000 test rows tell that from 0.975 by 30 standard errors.
    assert accuracy > 0.975
