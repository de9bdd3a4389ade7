"""dots.llm1. The converter writes the gate where the configuration states it."""

import json

from .checkpoint import BF16, BYTE_LEVEL, Model, config


def with_gate(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), scoring_func="sigmoid")))


MODELS = {
    "dots1": Model(config("Dots1Config", num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=2,
                          moe_intermediate_size=32, first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=2.5),
                   BF16, BYTE_LEVEL, saved=with_gate),
}
