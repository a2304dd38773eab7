"""3D-CSL: one vector per clip of eight pictures, compared by Chamfer similarity; trained without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ndvr.models import random_weights
from ndvr.models import weights as files
from ndvr.models.card import CACHE, Card, Clips, File, Option
from ndvr.models.layers.chamfer import chamfer
from ndvr.models.method import Method, Options, Part

# --- TimeSformer with divided space-time attention (Bertasius et al., ICML 2021): clips to class tokens
#
# Work for one clip of 8 pictures of 224 x 224, width 768: 350 GFLOP (width 384: 91), 96 % of it products of matrices
# with at least 1568 rows, which any BLAS does at its full speed: a core that multiplies 100 GFLOP/s needs 3.5 s. As
# published it is 391 (103): what is left out here changes nothing but the last digits. The two linear layers after
# attention over time are one, and of the last block only what reaches the class token is computed.


PATCH = 16  # pixels
HEAD = 64  # numbers a head
GRID, TIMES = 14, 8  # patches a side and pictures a clip that the embeddings are made for

# Clips at a time: a second one gains a CPU nothing and its activations leave the cache; a GPU wants some 10^4 tokens.
CHUNK_CLIPS = {"cpu": 1, "cuda": 16}


class Attention(nn.Module):
    """Multi-head self-attention (B, L, C) -> (B, L, C), heads side by side."""

    def __init__(self, dims: int):
        super().__init__()
        self.qkv = nn.Linear(dims, 3 * dims)  # outputs: q, k, v; in each, head by head
        self.proj = nn.Linear(dims, dims)

    def mixed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mix tokens (B, L, C) by attention, before `proj`."""
        q, k, v = (_heads(part) for part in self.qkv(tokens).chunk(3, dim=-1))
        return _joined(functional.scaled_dot_product_attention(q, k, v))

    def mixed_first(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mix tokens by attention for the first of them only: (B, L, C) -> (B, 1, C), before `proj`."""
        dims = tokens.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = functional.linear(tokens[:, :1], weight[:dims], bias[:dims])
        k, v = functional.linear(tokens, weight[dims:], bias[dims:]).chunk(2, dim=-1)
        return _joined(functional.scaled_dot_product_attention(_heads(q), _heads(k), _heads(v)))


def _heads(tokens: torch.Tensor) -> torch.Tensor:
    """Split tokens into heads: (B, L, C) -> (B, heads, L, 64)."""
    return tokens.unflatten(-1, (-1, HEAD)).transpose(1, 2)


def _joined(heads: torch.Tensor) -> torch.Tensor:
    """Join heads into tokens: (B, heads, L, 64) -> (B, L, C)."""
    return heads.transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """(..., C) -> (..., C) through 4C and GELU (the exact one)."""

    def __init__(self, dims: int):
        super().__init__()
        self.fc1 = nn.Linear(dims, 4 * dims)
        self.fc2 = nn.Linear(4 * dims, dims)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Attention over time, then over space, then the MLP, on tokens (N, T, 1 + P, C), which are changed in place.

    Token 0 is the clip's class token; every picture of the clip holds an equal copy of it. It takes no part in
    attention over time; in attention over space each picture updates its copy and the mean of the updates counts.
    """

    temporal_weight: torch.Tensor  # made of the parameters whenever these are loaded
    temporal_bias: torch.Tensor

    def __init__(self, dims: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=1e-6)
        self.attn = Attention(dims)
        self.temporal_norm1 = nn.LayerNorm(dims, eps=1e-6)
        self.temporal_attn = Attention(dims)
        self.temporal_fc = nn.Linear(dims, dims)
        self.norm2 = nn.LayerNorm(dims, eps=1e-6)
        self.mlp = Mlp(dims)
        self.register_load_state_dict_post_hook(_join_temporal_output)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self._over_time(tokens)
        update = self.attn.proj(self.attn.mixed(self.norm1(tokens).flatten(0, 1)))
        tokens += update.view_as(tokens)
        tokens[:, :, 0] = tokens[:, :, 0].mean(1, keepdim=True)
        tokens += self.mlp(self.norm2(tokens))
        return tokens

    def class_token(self, tokens: torch.Tensor) -> torch.Tensor:
        """Compute only the class token that `forward` would give: (N, C)."""
        self._over_time(tokens)
        update = self.attn.proj(self.attn.mixed_first(self.norm1(tokens).flatten(0, 1)))
        first = tokens[:, 0, 0] + update.view(len(tokens), -1, tokens.shape[-1]).mean(1)
        return first + self.mlp(self.norm2(first))

    def _over_time(self, tokens: torch.Tensor) -> None:
        patches = tokens[:, :, 1:].transpose(1, 2)  # (N, P, T, C)
        mixed = self.temporal_attn.mixed(self.temporal_norm1(patches).flatten(0, 1))
        patches += functional.linear(mixed, self.temporal_weight, self.temporal_bias).view(patches.shape)


def _join_temporal_output(block: Any, _: Any) -> None:
    """Join fc(proj(x)) into (F P) x + (F p + f): one product less in every block. Not part of the state dict."""
    with torch.no_grad():
        proj, fc = block.temporal_attn.proj, block.temporal_fc
        weight = fc.weight.double() @ proj.weight.double()
        bias = fc.weight.double() @ proj.bias.double() + fc.bias.double()
        block.register_buffer("temporal_weight", weight.float(), persistent=False)
        block.register_buffer("temporal_bias", bias.float(), persistent=False)


class PatchEmbed(nn.Module):
    """Pictures (..., H, W, 3) uint8 RGB -> patches (..., H // 16 * (W // 16), C), row by row."""

    def __init__(self, dims: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dims, PATCH, PATCH)  # holds the parameters; patches do not overlap: one product

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        *lead, height, width, _ = pictures.shape
        rows, columns = height // PATCH, width // PATCH
        cut = pictures[..., : rows * PATCH, : columns * PATCH, :].reshape(-1, rows, PATCH, columns, PATCH, 3)
        pixels = cut.permute(0, 1, 3, 5, 2, 4).reshape(*lead, rows * columns, 3 * PATCH * PATCH)
        values = pixels.float().div_(127.5).sub_(1)  # (x / 255 - 1/2) / (1/2)
        return functional.linear(values, self.proj.weight.flatten(1), self.proj.bias)


class TimeSformer(nn.Module):
    """Clips (N, T, H, W, 3) uint8 RGB -> class tokens (N, C) float32, not normalised; the authors' parameter names.

    Position and time embeddings are resized to other numbers of patches and pictures, nearest neighbour.
    """

    def __init__(self, dims: int, depth: int = 12):
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dims))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + GRID * GRID, dims))
        self.time_embed = nn.Parameter(torch.empty(1, TIMES, dims))
        self.patch_embed = PatchEmbed(dims)
        self.blocks = nn.ModuleList(Block(dims) for _ in range(depth))
        self.norm = nn.LayerNorm(dims, eps=1e-6)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        chunk = CHUNK_CLIPS.get(clips.device.type, CHUNK_CLIPS["cuda"])
        return torch.cat([self._class_tokens(part) for part in clips.split(chunk)])

    def _class_tokens(self, clips: torch.Tensor) -> torch.Tensor:
        tokens = self.tokens(clips)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return self.norm(last.class_token(tokens))

    def tokens(self, clips: torch.Tensor) -> torch.Tensor:
        """Make the tokens that enter the first block: (N, T, 1 + P, C)."""
        patches = self.patch_embed(clips)
        n, times, n_patches, dims = patches.shape
        place = self._places(clips.shape[2] // PATCH, clips.shape[3] // PATCH)
        tokens = patches.new_empty(n, times, 1 + n_patches, dims)
        tokens[:, :, :1] = self.cls_token + place[:, :1]
        torch.add(patches, place[:, 1:], out=tokens[:, :, 1:])
        tokens[:, :, 1:] += self._moments(times)
        return tokens

    def _places(self, rows: int, columns: int) -> torch.Tensor:
        """Embed places (1, 1 + rows * columns, C). As published, any 196 patches take the 14 x 14 as they are."""
        if rows * columns == GRID * GRID:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))
        grid = functional.interpolate(grid, size=(rows, columns), mode="nearest")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def _moments(self, times: int) -> torch.Tensor:
        """Embed times (1, T, 1, C)."""
        resized = functional.interpolate(self.time_embed.transpose(1, 2), size=times, mode="nearest")
        return resized.transpose(1, 2)[:, :, None]


# --- The method

CARD = Card(
    title="3D-CSL",
    paper="Deng et al., 3D-CSL: self-supervised 3D context similarity learning for near-duplicate video retrieval, "
    "ICIP 2023 (arXiv 2211.05352)",
    view=Clips(fps=1, rule="opencv", resize=224, crop=224, kernel="linear", long_side="floor", length=8),
    feature_shape=(768,),
    symmetric_if=({"similarity": "symmetric"},),
    weights={
        # A folder of Google Drive, which plain HTTP cannot fetch from: the error says where to put the file.
        "csl3d_base": File(
            name="best_model_base_224_16x16_rgb.pth",
            url="https://drive.google.com/drive/folders/1Zd01H2dwewE3FzjF46Kc80icHEbcArCI",
            licence="Apache-2.0 (code)",
        ),
    },
    options={
        "size": Option(
            default="base",
            choices=("base", "small"),
            help="the network: 768 numbers a clip, or 384 at a quarter of the work (needs weights of your own)",
            part="embed",
            small="small",
        ),
        "similarity": Option(
            default="chamfer",
            choices=("chamfer", "topk", "symmetric"),
            help="chamfer looks for the whole query in the target, topk for its three best clips, as published both; "
            "symmetric averages both directions",
        ),
        "cache": CACHE,
    },
)

WIDTHS = {"base": 768, "small": 384}
TOP_CLIPS = 3  # of the authors' --topk-cs
PREFIX = "feature_extractor.model."


class CSL3D(Method):
    """Class tokens of clips, made unit vectors and compared as sets.

    Weights have the authors' names, `feature_extractor.model.*`; comparing needs none.
    """

    def feature_shape(self, options: Options) -> tuple[int, ...]:
        return (WIDTHS[options["size"]],)

    def build(self, weights: Any, options: Options, *, part: Part, fetch: bool) -> nn.Module:
        if part == "similarity":
            return Comparison(options["similarity"])
        size = options["size"]
        with torch.device("meta"):  # no point in initialising what is loaded next
            network = ClipNetwork(WIDTHS[size])
        if (seed := random_weights.seed_of(weights)) is not None:
            files.load_into(network, _untrained(network, seed), source=str(weights))
            return network
        published = weights is None or (isinstance(weights, str) and weights in self.card.weights)
        if published and size != "base":
            raise files.WeightsError(f"the authors name no file of size={size!r}; give one of your own as weights")
        state, source = files.resolve(weights, self.card.weights, cache=options["cache"])
        tensors = files.divide(state, {"embed": (PREFIX,)}, source=source)["embed"]
        _check_size(tensors, size, source)
        files.load_into(network, tensors, source=source)
        return network


class ClipNetwork(nn.Module):
    """The network under the authors' names."""

    def __init__(self, dims: int):
        super().__init__()
        self.feature_extractor = nn.ModuleDict({"model": TimeSformer(dims)})

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.feature_extractor["model"](clips)


class Comparison(nn.Module):
    """Unit vectors of clips, compared by Chamfer similarity in one of its three forms; it has no weights."""

    def __init__(self, kind: str):
        super().__init__()
        self.symmetric = kind == "symmetric"
        self.top_k = TOP_CLIPS if kind == "topk" else None

    def signature(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise clips: (T, D) -> (T, D). A zero vector stays zero and is like nothing; the authors' gives NaN."""
        return functional.normalize(features, dim=-1)

    def similarities(self, query: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
        """Score one query (Tq, D) against V targets -> (V,) in [-1, 1]."""
        return chamfer(query, targets, symmetric=self.symmetric, top_k=self.top_k)

    def matrix(self, query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compare every clip with every clip: cosines (Tq, Tt)."""
        return query @ target.t()


def _untrained(network: nn.Module, seed: int) -> files.State:
    """Seeded noise, larger where pictures are read and smaller in what all share (1 x ... x C): else all look alike."""
    gains = {2: 2.0, 3: 0.5, 4: 2.0}
    return {key: value * gains.get(value.ndim, 1.0) for key, value in random_weights.seeded(network, seed).items()}


def _check_size(state: files.State, size: str, source: str) -> None:
    token = state.get(PREFIX + "cls_token")
    width = None if token is None else token.shape[-1]
    for other, dims in WIDTHS.items():
        if width == dims != WIDTHS[size]:
            raise files.WeightsError(
                f"{source} holds the {other} network ({dims} numbers a clip), but size={size!r} "
                f"({WIDTHS[size]}) was asked for; pass size={other!r}"
            )


METHOD = CSL3D(CARD)
