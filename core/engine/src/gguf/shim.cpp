// Owns: the calls into llama.cpp that can throw or that speak C++. Each catches everything.
// May know: llama.cpp's headers. Must not know: anything of the product.

#include "llama-context.h"
#include "llama-ext.h"
#include "llama.h"

#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {

// The code of a call that ended in an exception; llama.cpp's own codes are far from it.
constexpr int32_t EXCEPTION = -1000;

void explain(const char * text, char * message, size_t message_bytes) {
    if (message_bytes > 0) {
        std::snprintf(message, message_bytes, "%s", text);
    }
}

template <typename Call, typename Result>
Result guarded(Result failure, char * message, size_t message_bytes, Call call) {
    try {
        return call();
    } catch (const std::exception & error) {
        explain(error.what(), message, message_bytes);
    } catch (...) {
        explain("unknown exception", message, message_bytes);
    }
    return failure;
}

} // namespace

extern "C" {

int32_t llama_pajamas_decode(llama_context * context, int32_t * tokens, int32_t * positions, int8_t * outputs,
                             int32_t n_tokens, char * message, size_t message_bytes) {
    return guarded(EXCEPTION, message, message_bytes, [&] {
        llama_batch batch = {};
        batch.n_tokens = n_tokens;
        batch.token = tokens;
        batch.pos = positions;
        batch.logits = outputs;
        return llama_decode(context, batch);
    });
}

int32_t llama_pajamas_encode(llama_context * context, int32_t * tokens, int32_t n_tokens, char * message,
                             size_t message_bytes) {
    return guarded(EXCEPTION, message, message_bytes, [&] {
        llama_batch batch = {};
        batch.n_tokens = n_tokens;
        batch.token = tokens;
        return llama_encode(context, batch);
    });
}

// Has the context keep its states, which are the rows before the product with the vocabulary: those of all tokens, or
// those of tokens whose logits are kept.
void llama_pajamas_keep_states(llama_context * context, bool all) { llama_set_embeddings_nextn(context, true, !all); }

// The state after the token at `index` of the last batch.
const float * llama_pajamas_kept_state(llama_context * context, int32_t index) {
    try {
        return llama_get_embeddings_nextn_ith(context, index);
    } catch (...) {
        return nullptr;
    }
}

// Tokens in the sequence beside each, with the state before it, of `width` numbers; logits after the last where they are
// wanted.
int32_t llama_pajamas_decode_after(llama_context * context, const int32_t * tokens, const int32_t * positions,
                                   const int32_t * sequences, const float * states, size_t width, int32_t n_tokens, bool output, char * message,
                                   size_t message_bytes) {
    return guarded(EXCEPTION, message, message_bytes, [&] {
        std::unique_ptr<llama_batch_ext, void (*)(llama_batch_ext *)> batch(llama_batch_ext_init(context), llama_batch_ext_free);
        for (int32_t i = 0; i < n_tokens; i++) {
            const int32_t at = llama_batch_ext_add_token(batch.get(), sequences[i], tokens[i]);
            if (at < 0 || !llama_batch_ext_set_pos(batch.get(), at, positions + i) ||
                !llama_batch_ext_set_embd_token(batch.get(), at, {states + i * width, 1, width}) ||
                !llama_batch_ext_set_output_logits(batch.get(), at, output && i + 1 == n_tokens)) {
                throw std::runtime_error("the batch refuses a token and its state");
            }
        }
        return llama_process(context, LLAMA_PROCESS_TYPE_DECODE, batch.get());
    });
}

// Every token in the sequence beside it, at the position beside it.
int32_t llama_pajamas_decode_sequences(llama_context * context, int32_t * tokens, int32_t * positions,
                                       int32_t * sequences, int8_t * outputs, int32_t n_tokens, char * message, size_t message_bytes) {
    return guarded(EXCEPTION, message, message_bytes, [&] {
        std::vector<int32_t> counts(n_tokens, 1);
        std::vector<llama_seq_id *> ids(n_tokens);
        for (int32_t i = 0; i < n_tokens; i++) {
            ids[i] = sequences + i;
        }
        llama_batch batch = {};
        batch.n_tokens = n_tokens;
        batch.token = tokens;
        batch.pos = positions;
        batch.n_seq_id = counts.data();
        batch.seq_id = ids.data();
        batch.logits = outputs;
        return llama_decode(context, batch);
    });
}

bool llama_pajamas_copy_sequence(llama_context * context, int32_t from, int32_t to, char * message,
                                 size_t message_bytes) {
    return guarded(false, message, message_bytes, [&] {
        llama_memory_seq_cp(llama_get_memory(context), from, to, -1, -1);
        return true;
    });
}

size_t llama_pajamas_state_bytes(llama_context * context, int32_t sequence, char * message, size_t message_bytes) {
    return guarded(size_t(0), message, message_bytes, [&] { return llama_state_seq_get_size(context, sequence); });
}

size_t llama_pajamas_state_get(llama_context * context, int32_t sequence, uint8_t * to, size_t bytes, char * message,
                               size_t message_bytes) {
    return guarded(size_t(0), message, message_bytes,
                   [&] { return llama_state_seq_get_data(context, to, bytes, sequence); });
}

size_t llama_pajamas_state_set(llama_context * context, int32_t sequence, const uint8_t * from, size_t bytes,
                               char * message, size_t message_bytes) {
    return guarded(size_t(0), message, message_bytes,
                   [&] { return llama_state_seq_set_data(context, from, bytes, sequence); });
}

// Applies these adapters and no others, and one direction per layer from the second on; none where `control` is null. What
// must be laid out anew for them is laid out here.
bool llama_pajamas_adapt(llama_context * context, llama_adapter_lora ** adapters, float * scales, size_t n_adapters,
                         const float * control, size_t control_length, int32_t width, int32_t n_layers, char * message,
                         size_t message_bytes) {
    return guarded(false, message, message_bytes, [&] {
        llama_set_adapters_lora(context, adapters, n_adapters, scales);
        if (llama_set_adapter_cvec(context, control, control_length, width, 1, n_layers) != 0) {
            return false;
        }
        context->sched_reserve();
        return true;
    });
}

typedef void (*llama_pajamas_buffer_visitor)(void * data, const char * name, bool is_host, size_t model_bytes,
                                             size_t context_bytes, size_t compute_bytes);

// Opens a context of a model without weights, tells what it and the model occupy, and closes it.
bool llama_pajamas_measure(llama_model * model, llama_context_params parameters,
                           llama_pajamas_buffer_visitor visit, void * data, char * message, size_t message_bytes) {
    return guarded(false, message, message_bytes, [&] {
        const std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model, parameters),
                                                                            llama_free);
        if (!context) {
            return false;
        }
        for (const auto & [type, bytes] : llama_get_memory_breakdown(context.get())) {
            visit(data, ggml_backend_buft_name(type), ggml_backend_buft_is_host(type), bytes.model,
                  bytes.context, bytes.compute);
        }
        return true;
    });
}

bool llama_pajamas_memory(const llama_context * context, llama_pajamas_buffer_visitor visit, void * data) {
    return guarded(false, nullptr, 0, [&] {
        for (const auto & [type, bytes] : llama_get_memory_breakdown(context)) {
            visit(data, ggml_backend_buft_name(type), ggml_backend_buft_is_host(type), bytes.model,
                  bytes.context, bytes.compute);
        }
        return true;
    });
}

} // extern "C"
