/* A program that was compiled against an earlier header, in which options and events had fewer fields: `older MODEL`.
 * What it needs of that header stands here, as it stood there. It has to run with every later library of the same ABI version. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct lp_error lp_error;
typedef struct lp_cancel lp_cancel;
typedef struct lp_runtime lp_runtime;
typedef struct lp_model lp_model;
typedef struct lp_session lp_session;

typedef struct lp_plan_options {
    size_t struct_size;
    uint64_t context_tokens;
    uint64_t memory_budget_bytes;
    const char *variant;
} lp_plan_options;

typedef struct lp_generate_options {
    size_t struct_size;
    uint32_t max_tokens;
    uint32_t top_k;
    float temperature;
    float top_p;
    float min_p;
    float repeat_penalty;
    uint64_t seed;
    const char *const *stop_texts;
    size_t n_stop_texts;
} lp_generate_options;

typedef struct lp_event {
    int kind;
    int32_t token_id;
    const char *text;
    size_t text_bytes;
} lp_event;

typedef int (*lp_event_fn)(void *user_data, const lp_event *event);

int lp_runtime_open(const char *path, const void *options, lp_runtime **out, lp_error **error);
int lp_runtime_load(const lp_runtime *runtime, const lp_plan_options *options, const lp_cancel *cancel, lp_event_fn on_event,
                    void *user_data, lp_model **out, lp_error **error);
int lp_session_open(const lp_model *model, const void *options, lp_session **out, lp_error **error);
int lp_session_generate(lp_session *session, const char *prompt, const lp_generate_options *options, const lp_cancel *cancel,
                        lp_event_fn on_event, void *user_data, lp_error **error);
const char *lp_error_message(const lp_error *error);
void lp_plan_options_init(lp_plan_options *options, size_t struct_size);
void lp_generate_options_init(lp_generate_options *options, size_t struct_size);
void lp_session_free(lp_session *session);
void lp_model_free(lp_model *model);
void lp_runtime_free(lp_runtime *runtime);

static int print(void *user_data, const lp_event *event) {
    if (event->kind == 2) *(size_t *)user_data += fwrite(event->text, 1, event->text_bytes, stdout);
    return 0;
}

/* A struct with what comes after it on the stack: nothing of that may be read or written. */
typedef struct guarded_plan {
    lp_plan_options options;
    unsigned char behind[64];
} guarded_plan;
typedef struct guarded_generate {
    lp_generate_options options;
    unsigned char behind[128];
} guarded_generate;

int main(int argc, char **argv) {
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    guarded_plan plan;
    guarded_generate generate;
    size_t n_bytes = 0;
    memset(&plan, 0xab, sizeof plan);
    memset(&generate, 0xab, sizeof generate);
    lp_plan_options_init(&plan.options, sizeof plan.options);
    lp_generate_options_init(&generate.options, sizeof generate.options);
    plan.options.context_tokens = 256;
    generate.options.max_tokens = 16;
    generate.options.temperature = 0.0f;
    if (argc != 2 || lp_runtime_open(argv[1], NULL, &runtime, &error) ||
        lp_runtime_load(runtime, &plan.options, NULL, NULL, NULL, &model, &error) ||
        lp_session_open(model, NULL, &session, &error) ||
        lp_session_generate(session, "Once upon a time", &generate.options, NULL, print, &n_bytes, &error)) {
        fprintf(stderr, "%s\n", lp_error_message(error));
        return 1;
    }
    putchar('\n');
    for (size_t i = 0; i < sizeof plan.behind; i++)
        if (plan.behind[i] != 0xab) return fprintf(stderr, "written behind lp_plan_options\n"), 1;
    for (size_t i = 0; i < sizeof generate.behind; i++)
        if (generate.behind[i] != 0xab) return fprintf(stderr, "written behind lp_generate_options\n"), 1;
    lp_session_free(session), lp_model_free(model), lp_runtime_free(runtime);
    return n_bytes == 0;
}
