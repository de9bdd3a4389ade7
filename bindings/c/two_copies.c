/* Two copies of ggml in one process: `two_copies MODEL`. This library brings one inside, the program links another, as apps do that
 * use whisper.cpp or the like beside it. Both compute at the same time; each has to be right. */

#include "llama_pajamas.h"

#include "ggml-cpu.h"
#include "ggml.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20, SIDE = 64 };

/* Multiplies by a matrix whose product is known. */
static int multiply(void) {
    struct ggml_init_params parameters = {16u << 20, NULL, false};
    struct ggml_context *context = ggml_init(parameters);
    struct ggml_tensor *a = ggml_new_tensor_2d(context, GGML_TYPE_F32, SIDE, SIDE);
    struct ggml_tensor *b = ggml_new_tensor_2d(context, GGML_TYPE_F32, SIDE, 1);
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) ((float *)a->data)[row * SIDE + column] = (float)(row == column) * 3.0f;
    for (int column = 0; column < SIDE; column++) ((float *)b->data)[column] = (float)column;
    struct ggml_tensor *product = ggml_mul_mat(context, a, b);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, product);
    int right = ggml_graph_compute_with_ctx(context, graph, 1) == GGML_STATUS_SUCCESS;
    for (int column = 0; column < SIDE; column++) right = right && ((float *)product->data)[column] == 3.0f * (float)column;
    ggml_free(context);
    return right;
}

static void *other(void *user_data) {
    int *right = (int *)user_data;
    for (int round = 0; round < 50 * ROUNDS; round++) *right = *right && multiply();
    return NULL;
}

typedef struct text {
    char bytes[1024];
    size_t n_bytes;
} text;

static int hear(void *user_data, const lp_event *event) {
    text *all = (text *)user_data;
    if (event->kind == LP_EVENT_TEXT && all->n_bytes + event->text_bytes < sizeof all->bytes) {
        memcpy(all->bytes + all->n_bytes, event->text, event->text_bytes);
        all->n_bytes += event->text_bytes;
    }
    return 0;
}

int main(int argc, char **argv) {
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    lp_generate_options options;
    text first = {{0}, 0};
    pthread_t thread;
    int right = multiply();
    lp_generate_options_init(&options, sizeof options);
    options.temperature = 0.0f;
    options.max_tokens = 16;
    if (argc != 2 || lp_runtime_open(argv[1], NULL, &runtime, &error) ||
        lp_runtime_load(runtime, NULL, NULL, NULL, NULL, &model, &error) || lp_session_open(model, NULL, &session, &error)) {
        fprintf(stderr, "%s\n", lp_error_message(error));
        return 1;
    }
    pthread_create(&thread, NULL, other, &right);
    for (int round = 0; round < ROUNDS; round++) {
        text all = {{0}, 0};
        if (lp_session_generate(session, "Once upon a time", &options, NULL, hear, &all, &error)) return 1;
        if (round == 0) first = all;
        else if (all.n_bytes != first.n_bytes || memcmp(all.bytes, first.bytes, all.n_bytes) != 0) return 1;
    }
    pthread_join(thread, NULL);
    lp_session_free(session), lp_model_free(model), lp_runtime_free(runtime);
    printf("ours: %.*s; the other multiplies %s\n", (int)first.n_bytes, first.bytes, right ? "right" : "wrong");
    return !right || first.n_bytes == 0;
}
