"""Token embeddings to begin with, from which tokens stand near which (Levy and Goldberg 2014: positive PMI, factorised)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

WINDOW = 8
SMOOTHED = 0.75  # exponent of the context's frequency, as in word2vec


def embeddings(texts: Sequence[NDArray[np.int32]], tokens: int, width: int, seed: int) -> NDArray[np.float32]:
    """[tokens, width], each row of root mean square 1, or 0 for a token without company. texts: ids without the end token."""
    lengths = [len(ids) for ids in texts]
    ids, row = np.concatenate(texts), np.repeat(np.arange(len(texts)), lengths)
    near = sparse.csr_matrix((tokens, tokens))
    for distance in range(1, WINDOW + 1):
        together = row[distance:] == row[:-distance]
        places = (ids[:-distance][together], ids[distance:][together])
        near = near + sparse.csr_matrix((np.full(int(together.sum()), distance**-0.5), places), shape=(tokens, tokens))
    near = near + near.T
    near.setdiag(0)
    near.eliminate_zeros()
    near = near.tocoo()
    total = np.asarray(near.sum(1)).ravel()
    context = total**SMOOTHED / (total**SMOOTHED).sum()
    information = np.log(near.data / total[near.row] / context[near.col])
    some = information > 0
    matrix = sparse.csr_matrix((information[some], (near.row[some], near.col[some])), shape=near.shape)
    left, values, _ = randomized_svd(matrix, width, n_iter=3, random_state=seed)
    vectors = left * values**0.5
    size = np.sqrt((vectors**2).mean(1, keepdims=True))
    return np.where(size > 1e-9, vectors / np.maximum(size, 1e-9), 0).astype(np.float32)
