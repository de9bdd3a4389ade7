// Owns: the calls into llama.cpp's library for pictures and sound. Each catches everything.
// May know: its headers. Must not know: anything of the product.

#include "llama.h"
#include "mtmd-helper.h"
#include "mtmd.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>

// The picture decoder that is part of that library. Its own function for files would start other programs for what it does
// not know.
extern "C" {
unsigned char * stbi_load_from_memory(const unsigned char * bytes, int length, int * width, int * height, int * channels,
                                      int wanted);
int stbi_info_from_memory(const unsigned char * bytes, int length, int * width, int * height, int * channels);
void stbi_image_free(void * pixels);
const char * stbi_failure_reason(void);
}

namespace {

template <typename Call, typename Result>
Result guarded(Result failure, char * message, size_t message_bytes, Call call) {
    try {
        return call();
    } catch (const std::exception & error) {
        std::snprintf(message, message_bytes, "%s", error.what());
    } catch (...) {
        std::snprintf(message, message_bytes, "unknown exception");
    }
    return failure;
}

using Bitmap = std::unique_ptr<mtmd_bitmap, decltype(&mtmd_bitmap_free)>;

Bitmap picture(const uint8_t * bytes, size_t length, int64_t max_pixels, char * message, size_t message_bytes) {
    Bitmap none(nullptr, mtmd_bitmap_free);
    int width = 0, height = 0, channels = 0;
    if (!stbi_info_from_memory(bytes, (int) length, &width, &height, &channels)) {
        std::snprintf(message, message_bytes, "a picture that cannot be read (%s)", stbi_failure_reason());
        return none;
    }
    if ((int64_t) width * height > max_pixels) {
        std::snprintf(message, message_bytes, "a picture of %d x %d", width, height);
        return none;
    }
    unsigned char * pixels = stbi_load_from_memory(bytes, (int) length, &width, &height, &channels, 3);
    if (!pixels) {
        std::snprintf(message, message_bytes, "a picture that cannot be read (%s)", stbi_failure_reason());
        return none;
    }
    const std::unique_ptr<unsigned char, decltype(&stbi_image_free)> owned(pixels, stbi_image_free);
    return Bitmap(mtmd_bitmap_init((uint32_t) width, (uint32_t) height, pixels), mtmd_bitmap_free);
}

} // namespace

extern "C" {

mtmd_context * llama_pajamas_media_open(const char * path, const llama_model * model, int n_threads, bool gpu,
                                        ggml_log_callback log, char * message, size_t message_bytes) {
    return guarded((mtmd_context *) nullptr, message, message_bytes, [&] {
        mtmd_helper_log_set(log, nullptr);
        mtmd_context_params parameters = mtmd_context_params_default();
        parameters.use_gpu = gpu;
        parameters.print_timings = false;
        parameters.n_threads = n_threads;
        parameters.warmup = false;
        return mtmd_init_from_file(path, model, parameters);
    });
}

// What stands for a file's bytes: pieces of text and of what is to be encoded. Null with a message where they are none.
mtmd_input_chunks * llama_pajamas_media_read(mtmd_context * media, const uint8_t * bytes, size_t length, bool is_sound,
                                             int64_t max_pixels, char * message, size_t message_bytes) {
    return guarded((mtmd_input_chunks *) nullptr, message, message_bytes, [&]() -> mtmd_input_chunks * {
        Bitmap bitmap(nullptr, mtmd_bitmap_free);
        if (is_sound) {
            bitmap.reset(
                mtmd_helper_bitmap_init_from_buf(media, bytes, length, false, mtmd_helper_init_opt_default()).bitmap);
        } else {
            bitmap = picture(bytes, length, max_pixels, message, message_bytes);
        }
        if (!bitmap) {
            return nullptr;
        }
        const char * marker = mtmd_get_marker(media);
        const mtmd_input_text text = {marker, std::strlen(marker), false, true};
        const mtmd_bitmap * bitmaps[] = {bitmap.get()};
        std::unique_ptr<mtmd_input_chunks, decltype(&mtmd_input_chunks_free)> chunks(mtmd_input_chunks_init(),
                                                                                    mtmd_input_chunks_free);
        if (mtmd_tokenize(media, chunks.get(), &text, bitmaps, 1) != 0) {
            return nullptr;
        }
        return chunks.release();
    });
}

// Encodes a piece; what comes of it is the library's until the next one.
const float * llama_pajamas_media_encode(mtmd_context * media, const mtmd_input_chunk * chunk, char * message,
                                         size_t message_bytes) {
    return guarded((const float *) nullptr, message, message_bytes, [&]() -> const float * {
        return mtmd_encode_chunk(media, chunk) == 0 ? mtmd_get_output_embd(media) : nullptr;
    });
}

// Appends an encoded piece to a sequence at `position`.
int32_t llama_pajamas_media_decode(mtmd_context * media, llama_context * context, const mtmd_input_chunk * chunk,
                                   float * values, int32_t position, int32_t sequence, int32_t n_batch, char * message,
                                   size_t message_bytes) {
    return guarded(int32_t(-1000), message, message_bytes, [&] {
        llama_pos behind = 0;
        return mtmd_helper_decode_image_chunk(media, context, chunk, values, position, sequence, n_batch, &behind, nullptr,
                                              nullptr);
    });
}

} // extern "C"
