"""Models that take images: their decoders, and the projectors that go into files of their own."""

import json

import safetensors.torch

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, FILES, TOKENIZERS, Model, config
from .gemma import scaled
from .glm import added

MEAN, STD = [0.48, 0.45, 0.40], [0.26, 0.25, 0.27]
TEXT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
# Patches of 4 x 4 in three colours; widths that differ from the decoder's.
QWEN = dict(depth=4, num_heads=2, patch_size=4, spatial_merge_size=2, temporal_patch_size=2)


def respelled(*changes):
    """Stores the checkpoint under names of other versions: pairs of a beginning and what stands in its place."""
    def saved(folder):
        path, stored = folder / "model.safetensors", {}
        for name, tensor in safetensors.torch.load_file(path).items():
            for old, new in changes:
                if name.startswith(old):
                    name = new + name.removeprefix(old)
                    break
            stored[name] = tensor
        safetensors.torch.save_file(stored, path, metadata={"format": "pt"})
    return saved


def transposed(folder):
    """Stores stacked experts as the first releases did."""
    path = folder / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    stored = {name: tensor.transpose(1, 2).contiguous() if ".experts." in name else tensor for name, tensor in stored.items()}
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})


def flat(folder):
    """Spells the configuration and the names as the first releases did: the decoder's fields beside `vision_config`."""
    respelled(("model.language_model.", "model."), ("model.visual.", "visual."))(folder)
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    text = stated.pop("text_config")
    rope = text.pop("rope_parameters")
    text.pop("model_type"), text.pop("layer_types", None)
    text.update(rope_theta=rope["rope_theta"], rope_scaling=dict(type="mrope", mrope_section=rope["mrope_section"]))
    path.write_text(json.dumps(dict(text, **stated)))


def break_token(folder):
    """Gives the tokenizer a token that stands between rows of patches."""
    path = folder / "tokenizer.json"
    stated = json.loads(path.read_text())
    taken = [*stated["model"]["vocab"].values(), *(token["id"] for token in stated["added_tokens"])]
    stated["added_tokens"].append(dict(id=max(taken) + 1, content="[IMG_BREAK]", special=True, lstrip=False, rstrip=False,
                                       single_word=False, normalized=False))
    path.write_text(json.dumps(stated))


def short_names(folder):
    """The same, with names that the converter finds the embedding by."""
    respelled(("language_model.model.", "model."), ("language_model.lm_head.", "lm_head."))(folder)
    break_token(folder)


def part(name, **fields):
    """Writes further fields of a part of the configuration."""
    def saved(folder):
        path = folder / "config.json"
        stated = json.loads(path.read_text())
        path.write_text(json.dumps(dict(stated, **{name: dict(stated[name], **fields)})))
    return saved


def processor(**more):
    return {"preprocessor_config.json": dict(image_mean=MEAN, image_std=STD, **more)}


def vision(kind, dtype, vision_config, text=None, saved=None, beside=None, tokenizer=BYTE_LEVEL, **more):
    text_config = dict(TEXT, **(text or {}))
    model = {name: more.pop(name) for name in ("norms", "max_error", "beyond", "files", "weights", "parts", "reads") if name in more}
    return Model(config(kind, text_config=text_config, vision_config=vision_config, plain=True, **more), dtype, tokenizer,
                 auto="AutoModelForImageTextToText", saved=saved, beside=beside or processor(), **model)


def sections(interleaved, *numbers):
    return dict(rope_type="default", rope_theta=1e6, mrope_section=list(numbers),
                **(dict(mrope_interleaved=True) if interleaved else {}))


QWEN2_5 = dict(QWEN, hidden_size=48, intermediate_size=80, out_hidden_size=64, fullatt_block_indexes=[1, 3], window_size=16)
QWEN3 = dict(QWEN, hidden_size=48, intermediate_size=80, out_hidden_size=64, num_position_embeddings=64,
             deepstack_visual_indexes=[0, 2])
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48, decoder_sparse_step=1, norm_topk_prob=True)
SIGLIP = dict(model_type="siglip_vision_model", hidden_size=48, intermediate_size=80, num_hidden_layers=2,
              num_attention_heads=4, image_size=32, patch_size=4, vision_use_head=False)
# The converter knows matrices of projectors by numbers below that of the layers.
PIXTRAL = dict(model_type="pixtral", hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2,
               image_size=32, patch_size=4)
MISTRAL = dict(model_type="mistral", head_dim=16, sliding_window=None, tie_word_embeddings=False)
OLD_QWEN = respelled(("model.language_model.", "model."), ("model.visual.", "visual."))
PADDLE = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=4)
GLM = dict(depth=3, num_heads=2, patch_size=4, spatial_merge_size=2, temporal_patch_size=2, image_size=32, hidden_size=48,
           intermediate_size=80, out_hidden_size=64)
GLM_ROPE = dict(sections(False, 2, 1, 1), partial_rotary_factor=0.5)
GEMMA = dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=16, num_hidden_layers=7)

GEMMA4 = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
              head_dim=12, patch_size=4, pooling_kernel_size=2, position_embedding_size=64, standardize=True)
GEMMA4_AUDIO = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, subsampling_conv_channels=[24, 8],
                    output_proj_dims=40)
GEMMA4_TEXT = dict(head_dim=16, global_head_dim=32, sliding_window=16, num_hidden_layers=6, hidden_size_per_layer_input=0,
                   attention_k_eq_v=True, num_global_key_value_heads=1)

MODELS = {
    # The engine leaves the epsilon out of this decoder's norms.
    "vision-qwen2-vl": vision(
        "Qwen2VLConfig", BF16, dict(QWEN, embed_dim=48, hidden_size=64, mlp_ratio=2),
        dict(rms_norm_eps=1e-9, rope_parameters=sections(False, 4, 2, 2)), OLD_QWEN),
    "vision-qwen2.5-vl": vision("Qwen2_5_VLConfig", BF16, QWEN2_5, dict(
        rms_norm_eps=1e-9, rope_parameters=sections(False, 4, 2, 2)), OLD_QWEN),
    "vision-qwen2.5-vl-flat": vision("Qwen2_5_VLConfig", F16, QWEN2_5, dict(
        rms_norm_eps=1e-9, rope_parameters=sections(False, 2, 3, 3)), flat),
    "vision-qwen3-vl": vision("Qwen3VLConfig", BF16, QWEN3, dict(
        head_dim=32, rope_parameters=sections(True, 6, 5, 5), tie_word_embeddings=True), tie_word_embeddings=True),
    "vision-qwen3-vl-inside": vision(
        "Qwen3VLConfig", F32, QWEN3, dict(head_dim=16, rope_parameters=sections(True, 3, 3, 2)),
        respelled(("model.language_model.", "language_model.model."))),
    "vision-qwen3-vl-moe": vision("Qwen3VLMoeConfig", BF16, QWEN3, dict(
        EXPERTS, head_dim=32, rope_parameters=sections(True, 6, 5, 5)), transposed),
    "vision-gemma3": vision(
        "Gemma3Config", BF16, SIGLIP, GEMMA, respelled(("vision_tower.", "vision_tower.vision_model.")),
        mm_tokens_per_image=16, beside=processor(image_seq_length=16),
        tokenizer=TOKENIZERS / "llama2", files=FILES + ("tokenizer.model",), norms=0.0, max_error=2e-3),
    "vision-gemma4": vision(
        "Gemma4Config", BF16, GEMMA4, GEMMA4_TEXT, beside=processor(), tokenizer=TOKENIZERS / "llama2", max_error=2e-3,
        weights=scaled, audio_config=None),
    "vision-smolvlm": vision(
        "SmolVLMConfig", F32, dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, image_size=32,
                                   patch_size=4), dict(model_type="llama", architectures=["VLlama3ForCausalLM"]), scale_factor=2,
        beside=processor(size=dict(longest_edge=64)), tie_word_embeddings=False),
    "vision-lfm2": vision(
        "Lfm2VlConfig", BF16, dict(model_type="siglip2_vision_model", hidden_size=48, intermediate_size=80, num_hidden_layers=3,
                                   num_attention_heads=4, patch_size=16, num_patches=16, vision_use_head=False),
        dict(model_type="lfm2", architectures=["Lfm2ForCausalLM"], conv_L_cache=3, layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False),
        respelled(("model.vision_tower.", "model.vision_tower.vision_model.")), downsample_factor=2, projector_hidden_size=40,
        vision_feature_layer=-1),
    "vision-paddleocr": vision(
        "PaddleOCRVLConfig", BF16, PADDLE, dict(head_dim=32, rope_parameters=sections(False, 4, 6, 6)),
        part("vision_config", architectures=["PaddleOCRVisionModel"]), beside=processor(min_pixels=64, max_pixels=1600),
        tokenizer=TOKENIZERS / "llama2", files=FILES + ("tokenizer.model",)),
    "vision-llama4": vision(
        "Llama4Config", BF16, dict(hidden_size=48, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4, image_size=32,
                                   patch_size=4, projector_input_dim=80, projector_output_dim=80, vision_output_dim=80),
        dict(num_hidden_layers=5, head_dim=32, intermediate_size_mlp=128, num_local_experts=4, pad_token_id=0), reads="language_model"),
    "vision-glm4v": vision(
        "Glm4vConfig", BF16, GLM, dict(rope_parameters=GLM_ROPE),
        parts=dict(added_tokens=added()), beyond=4),
    "vision-glm4v-moe": vision(
        "Glm4vMoeConfig", F32, GLM, dict(head_dim=32, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                         rope_parameters=dict(sections(False, 4, 2, 2), partial_rotary_factor=0.5)),
        parts=dict(added_tokens=added()), beyond=4),
    "vision-gemma4-with-audio": vision(
        "Gemma4Config", BF16, dict(GEMMA4, use_clipped_linears=True), GEMMA4_TEXT, beside=processor(), tokenizer=TOKENIZERS / "llama2",
        max_error=2e-3, weights=scaled, audio_config=GEMMA4_AUDIO),
    "vision-pixtral": vision("LlavaConfig", BF16, dict(PIXTRAL, hidden_act="gelu"), MISTRAL, short_names, beyond=1,
                             vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=False),
    "vision-mistral3": vision("Mistral3Config", F32, dict(PIXTRAL, hidden_act="silu"), MISTRAL, break_token, beyond=1,
                              tie_word_embeddings=False),
}
