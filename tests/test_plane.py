"""Principal components: those of the covariance."""

import numpy as np

from emojax.report.plane import principal


def test_principal_components_are_those_of_the_covariance() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(50, 5)) @ r.normal(size=(5, 5))
    mean, rows, shares = principal(x)
    power, vectors = np.linalg.eigh(np.cov(x.T))
    np.testing.assert_allclose(mean, x.mean(0))
    np.testing.assert_allclose(np.abs(np.sum(rows * vectors[:, :-3:-1].T, 1)), 1, rtol=1e-6)
    np.testing.assert_allclose(shares, power[:-3:-1] / power.sum(), rtol=1e-6)
    assert principal(np.ones((3, 4)))[2].tolist() == [0, 0]
