"""A Qwen3 in plain torch, for training on short texts: tokens lie packed, attention alone sees padding, and of the last layer only the last
token is computed. Parameters have the names of a Qwen3 checkpoint, so that `state_dict` is one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Root mean square of the rarest token's embedding. The norms' epsilon is 1, so they leave numbers below 1 nearly as they are: the length of
# an embedding is then the weight of its token in a mean, where an epsilon near 0 would make all tokens weigh the same.
BEGIN = 0.5
SHARE = 0.15  # of a character in a word, see `level`
END, TRACE = 8.0, 2**-7  # length of the end token's embedding, and what is left of it
NOISE, EVIDENCE = 0.7, 300  # noise beside vectors of size 1; the texts a token stands in before its company counts half


@dataclass(frozen=True)
class Shape:
    vocab_size: int
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    head_dim: int = 64
    intermediate_size: int = 512
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1.0
    max_position_embeddings: int = 2048

    def config(self) -> dict:
        """config.json of the checkpoint."""
        return asdict(self) | {
            "architectures": ["Qwen3Model"],
            "model_type": "qwen3",
            "num_key_value_heads": self.num_attention_heads,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "eos_token_id": 0,
            "dtype": "bfloat16",
        }


class Norm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def _named(**modules: nn.Module) -> nn.Module:
    holder = nn.Module()
    for name, module in modules.items():
        holder.add_module(name, module)
    return holder


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden, heads = shape.hidden_size, shape.num_attention_heads * shape.head_dim
        self.heads, self.head_dim = shape.num_attention_heads, shape.head_dim
        q, k, v = (nn.Linear(hidden, heads, bias=False) for _ in "qkv")
        norms = {f"{which}_norm": Norm(shape.head_dim, shape.rms_norm_eps) for which in "qk"}
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden, shape.rms_norm_eps), Norm(hidden, shape.rms_norm_eps)
        self.self_attn = _named(q_proj=q, k_proj=k, v_proj=v, o_proj=nn.Linear(heads, hidden, bias=False), **norms)
        gate, up = (nn.Linear(hidden, shape.intermediate_size, bias=False) for _ in range(2))
        self.mlp = _named(gate_proj=gate, up_proj=up, down_proj=nn.Linear(shape.intermediate_size, hidden, bias=False))

    def forward(self, x: Tensor, batch: "Batch", last: bool) -> Tensor:
        """x: [tokens, hidden] -> the same; last: -> [texts, hidden], of the last token of each text."""
        a, normed = self.self_attn, self.input_layernorm(x)
        k = batch.turned(a.k_norm(self._split(a.k_proj(normed))))
        v = self._split(a.v_proj(normed))
        k, v = batch.padded(k), batch.padded(v)
        if last:
            x = x[batch.ends]
            q = batch.turned(a.q_norm(self._split(a.q_proj(normed[batch.ends]))), batch.ends)[:, :, None]
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=batch.mask).flatten(1)
        else:
            q = batch.padded(batch.turned(a.q_norm(self._split(a.q_proj(normed)))))
            mixed = batch.packed(F.scaled_dot_product_attention(q, k, v, is_causal=True)).flatten(1)
        x = x + a.o_proj(mixed)
        normed = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(normed)) * self.mlp.up_proj(normed))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(-1, self.heads, self.head_dim)


class Batch:
    """Packed token ids of texts, and where each token lies in the padded rectangle that attention wants."""

    def __init__(self, texts: Sequence[Tensor], frequencies: Tensor) -> None:
        lengths = torch.tensor([len(ids) for ids in texts])
        self.size, self.longest = len(texts), int(lengths.max())
        self.ids = torch.cat(list(texts)).long()
        self.ends = lengths.cumsum(0) - 1
        rows = torch.repeat_interleave(torch.arange(self.size), lengths)
        positions = torch.arange(len(self.ids)) - torch.repeat_interleave(self.ends + 1 - lengths, lengths)
        self.places = rows * self.longest + positions
        self.mask = (torch.arange(self.longest) < lengths[:, None])[:, None, None]
        angles = positions[:, None] * frequencies
        angles = torch.cat([angles, angles], 1)[:, None]
        self.cos, self.sin = angles.cos(), angles.sin()

    def turned(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        cos, sin = (self.cos, self.sin) if at is None else (self.cos[at], self.sin[at])
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    def padded(self, x: Tensor) -> Tensor:
        """[tokens, heads, width] -> [texts, heads, longest, width]"""
        full = x.new_zeros(self.size * self.longest, *x.shape[1:]).index_copy(0, self.places, x)
        return full.view(self.size, self.longest, *x.shape[1:]).transpose(1, 2)

    def packed(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).reshape(self.size * self.longest, *x.shape[1:2], x.shape[3])[self.places]


class Network(nn.Module):
    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.frequencies = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
        self._begin_as_mean_of_tokens(torch.Generator().manual_seed(seed))

    def _begin_as_mean_of_tokens(self, random: torch.Generator) -> None:
        """All layers but the last pass on what they get; in the last the end token attends to every token alike and carries their mean.

        There the queries are 0, so every score is 0; outputs are the identity, values too, but 0 where a layer passes on what it gets. So
        LoRA on queries, keys and values alone finds something to learn in every layer. What else writes to the residual stream is 0.
        """
        assert self.shape.num_attention_heads * self.shape.head_dim == self.shape.hidden_size
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=random)
        nn.init.normal_(self.embed_tokens.weight, generator=random)
        with torch.no_grad():
            self.embed_tokens.weight[0] *= 0.01
            for layer in self.layers:
                nn.init.eye_(layer.self_attn.o_proj.weight)
                layer.self_attn.v_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            self.layers[-1].self_attn.q_proj.weight.zero_()
            nn.init.eye_(self.layers[-1].self_attn.v_proj.weight)

    def begin_from(self, vectors: Tensor, texts: Sequence[Tensor]) -> None:
        """Embeddings from `vectors` [tokens, hidden] and some noise, long where a token is rare in `texts`, as in TF-IDF.

        The noise tells tokens apart that stand in the same company, and is all that a token without company has.
        """
        counts = torch.bincount(torch.cat([ids.unique() for ids in texts]), minlength=self.shape.vocab_size)
        rarity = ((len(texts) + 1) / (counts + 1)).log()
        with torch.no_grad():
            table = self.embed_tokens.weight
            known = (counts / (counts + EVIDENCE)).sqrt()[:, None]
            mixed = F.rms_norm(NOISE * F.rms_norm(table, table.shape[1:]) + known * vectors, table.shape[1:])
            table[1:] = mixed[1:] * (BEGIN * rarity / rarity.max())[1:, None]

    def level(self, texts: Sequence[Tensor], characters: Sequence[Sequence[int]]) -> None:
        """Makes room for words that training hardly saw, which otherwise all look alike. characters: tokens of which a token is made.

        A direction that all well-known tokens share, and the end token takes off again, is taken out; the end token gets the first axis for
        its own, of which the last norm leaves a trace, so that it adds next to nothing to a text, still can ask for tokens, and is all
        that an empty text has; a word of two characters gets a share of both.
        """
        ids, starts = torch.cat(list(texts)).long(), torch.tensor([0, *(len(ids) for ids in texts[:-1])]).cumsum(0)
        with torch.no_grad():
            table = self.embed_tokens.weight
            shared = F.embedding_bag(ids, F.rms_norm(table, table.shape[1:], None, self.shape.rms_norm_eps), starts, mode="mean").mean(0)
            mirror = F.normalize(shared, dim=0)
            mirror[0] -= 1
            table -= 2 * torch.outer(table @ mirror, mirror) / mirror.square().sum()  # turned, so that it is the first axis
            table[:, 0] = 0
            table += SHARE * torch.stack([table[list(own)].sum(0) for own in characters])
            table[0] = 0
            table[0, 0] = END
            self.norm.weight[0] = TRACE

    def mean(self, texts: Sequence[Tensor]) -> Tensor:
        """What `forward` gives as long as the layers are as they began, at a tenth of the work."""
        starts = torch.tensor([0, *(len(ids) for ids in texts[:-1])]).cumsum(0)
        ids, places = torch.cat(list(texts)).long().unique(return_inverse=True)
        table = F.rms_norm(self.embed_tokens.weight[ids], (self.shape.hidden_size,), None, self.shape.rms_norm_eps)
        means = F.embedding_bag(places, table, starts, mode="mean")
        end = self.embed_tokens.weight[0]  # goes past attention
        return F.normalize(self.norm.weight.detach() * (end + means), dim=-1)

    def forward(self, texts: Sequence[Tensor]) -> Tensor:
        """Unit vectors [texts, hidden] of texts given as token ids, the end token included."""
        batch = Batch(texts, self.frequencies)
        x = self.embed_tokens(batch.ids)
        for number, layer in enumerate(self.layers):
            x = layer(x, batch, last=number == len(self.layers) - 1)
        return F.normalize(self.norm(x.float()), dim=-1)
