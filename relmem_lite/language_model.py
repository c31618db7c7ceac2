"""Language models: from tokens to the probability of each next one, however many words there are."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, linear, log_softmax

from relmem_lite.core import Core, State, positive_int, true_somewhere
from relmem_lite.cores import find_core
from relmem_lite.models import Stack, check_marked, marked
from relmem_lite.tasks import Batch

SHRINK = 4


class WordVectors(nn.Module):
    """A vector for every word: what goes in for it, and what an output is compared with to see how likely it is.

    With cutoffs, words fall into clusters by their number, and those beyond each cutoff, which are rarer, have vectors
    a quarter as long, mapped to full size when they are read: the adaptive input of Baevski and Auli 2019 (arXiv
    1809.10853, section 3).

    Args:
        vocab_size: C, the number of words; the lower a word's number, the more frequent it should be.
        size: D, features of a word.
        cutoffs: the first word of each cluster after the first; () for one cluster.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, or cutoffs that do not increase, or
            lie beyond the vocabulary.
    """

    def __init__(self, vocab_size: int, size: int, cutoffs: Sequence[int] = ()):
        super().__init__()
        positive_int("vocab_size", vocab_size)
        positive_int("size", size)
        edges = [0, *(positive_int("cutoffs", cutoff) for cutoff in cutoffs), vocab_size]
        if any(edge >= following for edge, following in pairwise(edges)):
            raise ValueError(
                f"cutoffs must increase and stay below the number of words, {vocab_size:,}, got "
                f"{', '.join(map(str, cutoffs))}. Leave out those beyond, or give none for a full softmax."
            )
        self.vocab_size, self.size, self.edges = vocab_size, size, edges
        self.tables = nn.ParameterList()
        self.maps = nn.ParameterList()
        for cluster, (first, end) in enumerate(pairwise(edges)):
            own_size = max(1, size // SHRINK**cluster)
            self.tables.append(torch.empty(end - first, own_size).uniform_(-0.1, 0.1))
            if cluster:
                self.maps.append(torch.empty(own_size, size).uniform_(-(own_size**-0.5), own_size**-0.5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors of tokens, (...) int to (..., D).

        Raises:
            ValueError: a number that is no word's.
        """
        self.check(tokens)
        if not self.maps:
            return embedding(tokens, self.tables[0])
        flat = tokens.reshape(-1)
        vectors = None
        for cluster, rows in enumerate(self.rows_by_cluster(flat)):
            part = embedding(flat[rows] - self.edges[cluster], self.tables[cluster])
            if cluster:
                part = part @ self.maps[cluster - 1]
            if vectors is None:
                vectors = part.new_zeros(len(flat), self.size)
            vectors = vectors.index_copy(0, rows, part)
        return vectors.view(*tokens.shape, self.size)

    def check(self, tokens: Tensor) -> None:
        """Refuse numbers that are no word's, where a look at them is to be had for little.

        Raises:
            ValueError: there is one.
        """
        if true_somewhere((tokens < 0) | (tokens >= self.vocab_size)):
            raise ValueError(
                f"Tokens must lie between 0 and {self.vocab_size - 1}, got {int(tokens.min())} to "
                f"{int(tokens.max())}: are they another vocabulary's?"
            )

    def compare(self, hidden: Tensor, cluster: int) -> Tensor:
        """Return the products of outputs (..., D) with the vectors of each of a cluster's words."""
        if cluster:
            hidden = linear(hidden, self.maps[cluster - 1])
        return linear(hidden, self.tables[cluster])

    def rows_by_cluster(self, tokens: Tensor) -> list[Tensor]:
        """Say where in `tokens`, (N,), the words of each cluster stand."""
        return [((tokens >= first) & (tokens < end)).nonzero().squeeze(1) for first, end in pairwise(self.edges)]


class AdaptiveSoftmax(nn.Module):
    """Probabilities of words from outputs: of each frequent word, of each cluster of rare ones, and within a cluster.

    Grave et al. 2017 (arXiv 1609.04309, section 4): P(word) = P(word in head) or P(cluster in head) P(word | cluster).
    To learn from a word, the head and that word's own cluster are all that must be computed. Without cutoffs the head
    holds every word, and this is the softmax.

    Args:
        words: vectors that outputs are compared with; they are passed in at each call, and may be the embedding's.
    """

    def __init__(self, words: WordVectors):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(words.vocab_size))
        num_clusters = len(words.edges) - 2
        self.clusters = nn.Linear(words.size, num_clusters, bias=False) if num_clusters else None

    def forward(self, hidden: Tensor, words: WordVectors) -> Tensor:
        """Return the log-probability of every word, (..., D) to (..., C)."""
        head, edges = log_softmax(self._head(hidden, words), dim=-1), words.edges
        parts = [head[..., : edges[1]]]
        for cluster in range(1, len(edges) - 1):
            within = log_softmax(self._within(hidden, words, cluster), dim=-1)
            parts.append(head[..., edges[1] + cluster - 1].unsqueeze(-1) + within)
        return torch.cat(parts, dim=-1)

    def losses(self, hidden: Tensor, targets: Tensor, words: WordVectors) -> Tensor:
        """Return -log P(target) of each output, (N, D) and (N,) to (N,), without computing every word's.

        Raises:
            ValueError: a target that is no word's.
        """
        words.check(targets)
        head, edges = self._head(hidden, words), words.edges
        if len(edges) == 2:
            return cross_entropy(head, targets, reduction="none")
        cluster = torch.bucketize(targets, torch.tensor(edges[1:-1], device=targets.device), right=True)
        losses = cross_entropy(head, torch.where(cluster == 0, targets, edges[1] + cluster - 1), reduction="none")
        # A cluster without a target is computed all the same, with nothing in it: every parameter gets a gradient,
        # which processes that train together count on.
        for cluster, rows in enumerate(words.rows_by_cluster(targets)[1:], start=1):
            within = self._within(hidden[rows], words, cluster)
            losses = losses.index_add(0, rows, cross_entropy(within, targets[rows] - edges[cluster], reduction="none"))
        return losses

    def _head(self, hidden: Tensor, words: WordVectors) -> Tensor:
        scores = words.compare(hidden, 0) + self.bias[: words.edges[1]]
        return scores if self.clusters is None else torch.cat([scores, self.clusters(hidden)], dim=-1)

    def _within(self, hidden: Tensor, words: WordVectors, cluster: int) -> Tensor:
        return words.compare(hidden, cluster) + self.bias[words.edges[cluster] : words.edges[cluster + 1]]


class LanguageModel(nn.Module):
    """A core between the vectors of words: it reads a token a step, and says how likely each is to come next.

    Args:
        core: a core of `embedding_size` inputs; the name of one; or a list of names or cores, for a `Stack`.
        vocab_size: C, the number of tokens.
        embedding_size: features of a token.
        tied: compare outputs with the vectors that tokens go in by (Press and Wolf 2017, arXiv 1608.05859); a linear
            layer brings the core's outputs to their size if it is another. Otherwise outputs have vectors of their own.
        dropout: share of the embedding's features set to zero in training, and of each block's outputs in a stack that
            is built from a list.
        output_dropout: share of the features that are compared with words' set to zero in training.
        cutoffs: for an adaptive softmax, the first token of each cluster after the first; () for a full softmax. Both
            ways of `tied` may have it, and the embedding is adaptive with it.

    Raises:
        TypeError, ValueError: a size that does not fit, or a share that is not at least 0 and below 1.
    """

    def __init__(
        self,
        core: Core | str | Sequence[str | Core],
        vocab_size: int,
        embedding_size: int,
        *,
        tied: bool = True,
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        cutoffs: Sequence[int] = (),
    ):
        super().__init__()
        positive_int("embedding_size", embedding_size)
        for name, rate in {"dropout": dropout, "output_dropout": output_dropout}.items():
            share(name, rate)
        if isinstance(core, str):
            core = find_core(core).of_width(embedding_size, embedding_size)
        elif not isinstance(core, Core):
            core = Stack(core, embedding_size, dropout=dropout)
        if core.input_size != embedding_size:
            name = type(core).__name__
            raise ValueError(
                f"A language model with embedding_size {embedding_size} needs a core with input_size {embedding_size}, "
                f"got a {name} with input_size {core.input_size}. Try {name}.of_width({embedding_size}, ...)."
            )
        self.encoder = WordVectors(vocab_size, embedding_size, cutoffs)
        self.core = core
        untied_size, fits = core.output_size, core.output_size == embedding_size
        self.project = nn.Identity() if fits or not tied else nn.Linear(core.output_size, embedding_size)
        self.decoder = None if tied else WordVectors(vocab_size, untied_size, cutoffs)
        self.softmax = AdaptiveSoftmax(self.decoder or self.encoder)
        self.dropout, self.output_dropout = nn.Dropout(dropout), nn.Dropout(output_dropout)
        self.num_tokens = self.output_size = vocab_size

    def forward(self, inputs: Tensor, state: State | None = None, mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Read tokens, say what comes next.

        Args:
            inputs: tokens (B, T).
            state: the core's state to carry on from.
            mask: (B, T) bool: answer only at these steps.

        Returns:
            log-probabilities, (B, T, C), or (N, C) for the N marked steps in row order; and the core's state.

        Raises:
            ValueError: a number that is no word's; a mask that is not bool, or not (B, T).
        """
        outputs, state = self.core(self.dropout(self.encoder(inputs)), state)
        return self._log_probabilities(outputs if mask is None else marked(outputs, mask)), state

    def loss(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Return the mean loss over a batch's marked steps, in nats, and the core's state.

        Raises:
            ValueError: no step is marked, where that is to be seen for little; elsewhere the loss is NaN.
        """
        check_marked(batch.mask)
        outputs, state = self.core(self.dropout(self.encoder(batch.inputs)), state)
        hidden = self.output_dropout(self.project(outputs)).flatten(0, 1)
        # A product with the mask, not a selection by it: nearly all steps are asked for, and a selection copies them.
        mask = batch.mask.flatten()
        losses = self.softmax.losses(hidden, batch.targets.flatten().masked_fill(~mask, 0), self._words)
        return (losses * mask).sum() / mask.sum(), state

    def step(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,): log-probabilities of the next one (B, C), and the core's state."""
        output, state = self.core.step(self.dropout(self.encoder(tokens)), state)
        return self._log_probabilities(output), state

    @property
    def _words(self) -> WordVectors:
        return self.decoder or self.encoder

    def _log_probabilities(self, outputs: Tensor) -> Tensor:
        return self.softmax(self.output_dropout(self.project(outputs)), self._words)


def share(name: str, value: float) -> float:
    """Return `value` if it is a share that may be dropped: at least 0 and below 1.

    Raises:
        TypeError: not a number. ValueError: out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}.")
    return value
