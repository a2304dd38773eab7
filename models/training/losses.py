"""Published training losses as functions of tensors: S2VS, DnS, ViSiL, TCA, C3DHash. `recipes` trains with them.

Numbers and gradients are those of the authors' code. Networks of `models.load` are frozen, and thawed with
`model.network("similarity").requires_grad_(True)`. What they give with gradients: for S2VS, DnS and ViSiL the scores
of `layers/training.py`, for TCA `network.encoder.video(features)`, for C3DHash `network(features)`. Take losses in
float32: a temperature of 0.03 or a gamma of 256 is too much for half floats.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

# --- S2VS: Kordopatis-Zilos et al., Self-Supervised Video Similarity Learning, CVPRW 2023 ----------------------------


def same_source(composition: torch.Tensor) -> torch.Tensor:
    """Label a batch of N weak views followed by N strong ones, (2 N, 2 N): 1 where two views share a source.

    composition  (N, N), > 0 where strong view i shows video j: ones on the diagonal, and what was pasted into it
    """
    shown = torch.cat([torch.eye(len(composition)).to(composition), composition])
    return (shown @ shown.t() > 0).to(composition)


def info_nce(similarities: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.03) -> torch.Tensor:
    """Compute InfoNCE over all pairs (B, B) of a batch; labels (B, B), 1 for pairs of one source.

    With e = exp(s / temperature), of each positive pair i != j it is -log(e_ij / (e_ij + sum of row i's negatives +
    1e-6)), averaged over a row's positives and then over rows. A row without positives counts as 0.
    """
    scaled = similarities / temperature
    # In logarithms, as exp(1 / 0.03) squared is beyond float32; the constant stands for the authors' 1e-6.
    floor = scaled.new_full((len(scaled), 1), math.log(1e-6))
    others = torch.cat([scaled.masked_fill(labels > 0, -torch.inf), floor], 1).logsumexp(1, keepdim=True)
    losses = torch.logaddexp(scaled, others) - scaled
    positives = (labels > 0).to(scaled).fill_diagonal_(0)
    return ((losses * positives).sum(1) / positives.sum(1).clamp(min=1)).mean()


def hardest_negative(similarities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Average -log(1 - s) of each row's most similar negative; s in [0, 1], 1 - s not below 0.001."""
    hardest = similarities.masked_fill(labels > 0, 0).amax(1)
    return -(1 - hardest).clamp(min=1e-3).log().mean()


def self_similarity(similarities: torch.Tensor) -> torch.Tensor:
    """Average -log(s) of every video against itself; s in [0, 1], not below 0.001."""
    return -similarities.diagonal().clamp(min=1e-3).log().mean()


def out_of_range(cells: torch.Tensor) -> torch.Tensor:
    """Sum up how far the CNN's outputs, before clipping, lie outside [-1, 1] (ViSiL's similarity regularisation).

    The sum, not the mean: its weight grows with batch and videos. S2VS weighs it with 1, DnS with 0.001.
    """
    return ((cells + 1).clamp(max=0).abs() + (cells - 1).clamp(min=0)).sum()


def s2vs(similarities: torch.Tensor, labels: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Compute S2VS's whole loss: InfoNCE + 3 (hardest negative + self-similarity) + out of range.

    similarities  (B, B) in [0, 1]: scores / 2 + 1 / 2
    labels        (B, B) of `same_source`
    cells         what the CNN gave, before clipping, any shape
    """
    hard = hardest_negative(similarities, labels) + self_similarity(similarities)
    return info_nce(similarities, labels) + 3 * hard + out_of_range(cells)


def s2vs_learning_rate(step: int, *, peak: float = 5e-5, n_steps: int = 30_000, n_warmup: int = 1_000) -> float:
    """Compute the rate of optimiser step 0, 1, ...:
    a linear rise from a hundredth of the peak, then a cosine to a tenth.

    The cosine starts at step 0, so the rise ends below the peak; from `n_steps` on the rate stays.
    """
    if step < n_warmup:
        return peak * (0.01 + 0.99 * step / n_warmup)
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * min(step, n_steps) / n_steps)))


# --- DnS (IJCV 2022) and ViSiL (ICCV 2019), both Kordopatis-Zilos et al. -----------------------------------------


def distillation(
    student: torch.Tensor, teacher: torch.Tensor, cells: torch.Tensor | None = None, *, range_weight: float = 1e-3
) -> torch.Tensor:
    """Compute DnS's loss of a student: mean |student - teacher| + range_weight * out_of_range(cells).

    Scores of any one shape, both in [-1, 1] for a fine student, with `cells` of its CNN; for the coarse one, which has
    none, the teacher's are mapped to score / 2 + 1 / 2.
    """
    loss = functional.l1_loss(student, teacher)
    return loss if cells is None else loss + range_weight * out_of_range(cells)


def triplet(positive: torch.Tensor, negative: torch.Tensor, *, margin: float = 1.0) -> torch.Tensor:
    """Compute ViSiL's loss, the mean of max(0, s_negative - s_positive + margin); of distances, swap the two arguments.

    The authors' PyTorch code takes a margin of 1, their TensorFlow code and paper 0.5.
    """
    return functional.relu(negative - positive + margin).mean()


# --- TCA: Shao et al., Temporal Context Aggregation for Video Retrieval with Contrastive Learning, WACV 2021 -----


def circle(
    logits: torch.Tensor, *, margin: float = 0.25, gamma: float = 256.0, authors_code: bool = False
) -> torch.Tensor:
    """Compute the circle loss (Sun et al., CVPR 2020, as TCA uses it) of cosines (N, 1 + K), the positive's first.

    Cross-entropy of the first of gamma a_p (s_p - 1 + m) and gamma a_n (s_n - m), with a_p = max(0, 1 + m - s_p) and
    a_n = max(0, s_n + m) taken as constants.

    authors_code  as published in code: the first row is taken for positives, and all other rows, with their
                  positives, for negatives. Nobody knows which of the two the paper's numbers come from.
    """
    positive = torch.zeros_like(logits, dtype=torch.bool)
    if authors_code:
        positive[:1] = True
    else:
        positive[:, 0] = True
    fixed = logits.detach()
    pull = (1 + margin - fixed).clamp(min=0) * (logits - 1 + margin)
    push = (fixed + margin).clamp(min=0) * (logits - margin)
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return functional.cross_entropy(gamma * torch.where(positive, pull, push), first)


class MemoryBank(nn.Module):
    """Vectors of past negatives, as in MoCo (He et al., CVPR 2020); a step is

        follow(keys, encoder, momentum=0.0)                        # keys: a copy of encoder, without gradients
        logits = bank(encoder(anchors), keys(positives))
        circle(logits).backward(); optimiser.step()
        bank.push(keys(negatives))                                 # only negatives; they serve from the next step on

    queue  (D, K), random unit vectors at first; K must be a multiple of the negatives of one step
    """

    queue: torch.Tensor

    def __init__(self, dims: int, size: int = 4096, *, temperature: float = 1.0):
        super().__init__()
        self.temperature, self.position = temperature, 0
        self.register_buffer("queue", functional.normalize(torch.randn(dims, size), dim=0))

    def forward(self, anchors: torch.Tensor, positives: torch.Tensor) -> torch.Tensor:
        """Multiply unit vectors (N, D) twice -> logits (N, 1 + K):
        each anchor against its positive, then against the queue.
        """
        # A copy, as `push` may come before `backward`.
        products = [(anchors * positives).sum(1, keepdim=True), anchors @ self.queue.clone()]
        return torch.cat(products, 1) / self.temperature

    @torch.no_grad()
    def push(self, negatives: torch.Tensor) -> None:
        """Put unit vectors (M, D) in the place of the oldest M."""
        size = self.queue.shape[1]
        if size % len(negatives):
            raise ValueError(
                f"a memory bank of {size} does not hold a whole number of steps of {len(negatives)} negatives; "
                f"choose a size that is a multiple of {len(negatives)}"
            )
        self.queue[:, self.position : self.position + len(negatives)] = negatives.t()
        self.position = (self.position + len(negatives)) % size


@torch.no_grad()
def follow(keys: nn.Module, encoder: nn.Module, *, momentum: float = 0.0) -> None:
    """Set the parameters of `keys` to momentum * their own + (1 - momentum) * the encoder's; TCA's momentum is 0."""
    for own, other in zip(keys.parameters(), encoder.parameters()):
        own.mul_(momentum).add_(other, alpha=1 - momentum)


# --- C3DHash: zhongzhh8/Video-Retrieval-C3D, after Lai et al., CVPR 2015 -----------------------------------------


def all_triplets(
    activations: torch.Tensor, labels: torch.Tensor, *, margin: float = 14.0, each_once: bool = False
) -> torch.Tensor:
    """Average max(0, margin + d(a, p) - d(a, n)) over a batch's triplets; 0 where there are none.

    activations  (N, bits) after tanh; d is the squared Euclidean distance, so that a bit counts up to 4
    labels       (N,) classes. a, p: each pair of a class once, the earlier one as anchor; n: all of other classes
    each_once    count every triplet once. The authors' loop counts those of a class as often as it has members
    """
    distances = (activations[:, None] - activations[None]).square().sum(-1)
    same = labels[:, None] == labels
    anchor, positive = same.triu(1).nonzero(as_tuple=True)
    losses = functional.relu(margin + distances[anchor, positive, None] - distances[anchor])
    counts = (~same[anchor]).to(losses)
    if not each_once:
        counts = counts * same.sum(1)[anchor, None]
    return (losses * counts).sum() / counts.sum().clamp(min=1)
