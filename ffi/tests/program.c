/* The C interface, used as an app uses it. Arguments: a model, a file that is none, a missing path.
 * Prints one line per scenario; a failed expectation ends the program with status 1. */

#include "llama_pajamas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "line %d: expected %s\n", __LINE__, #condition);     \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

/* Expects success, or prints why there is none. */
static void ok(lp_status status, lp_error *error, int line) {
    if (status != LP_OK) {
        fprintf(stderr, "line %d: status %d: %s\n", line, (int)status, lp_error_message(error));
        exit(1);
    }
    EXPECT(error == NULL);
}
#define OK(call)                     \
    do {                             \
        lp_status status = (call);   \
        ok(status, error, __LINE__); \
    } while (0)

/* Expects this failure with an error object that agrees, and frees it. */
static void fails(lp_status status, lp_status expected, lp_error *error, int line) {
    if (status != expected || lp_error_status(error) != expected || !*lp_error_message(error)) {
        fprintf(stderr, "line %d: status %d, expected %d: %s\n", line, (int)status, (int)expected,
                lp_error_message(error));
        exit(1);
    }
    lp_error_free(error);
}
#define FAILS(call, expected)                       \
    do {                                            \
        lp_status status = (call);                  \
        fails(status, (expected), error, __LINE__); \
    } while (0)

/* What a generation told. */
typedef struct answer {
    char text[4096];
    size_t text_bytes;
    int tokens[256];
    size_t n_tokens;
    size_t n_done;
    size_t n_progress;
    size_t n_changes;
    size_t n_tuning;
    char json[512]; /* of the last change or tuning */
    lp_event last;
    size_t stop_after; /* ask to stop at this token; 0: never */
    lp_cancel *raise;  /* raise at the first token */
} answer;

static int listen(void *user_data, const lp_event *event) {
    answer *heard = (answer *)user_data;
    heard->last = *event;
    switch (event->kind) {
    case LP_EVENT_PROMPT:
        EXPECT(event->prompt_tokens > 0 && heard->n_tokens == 0);
        return 0;
    case LP_EVENT_TOKEN:
        EXPECT(heard->n_tokens < 256);
        heard->tokens[heard->n_tokens++] = event->token_id;
        if (heard->raise) lp_cancel_raise(heard->raise);
        return heard->stop_after != 0 && heard->n_tokens == heard->stop_after;
    case LP_EVENT_TEXT:
        EXPECT(heard->text_bytes + event->text_bytes < sizeof heard->text);
        memcpy(heard->text + heard->text_bytes, event->text, event->text_bytes);
        heard->text_bytes += event->text_bytes;
        return 0;
    case LP_EVENT_DONE:
        heard->n_done++;
        return 1;
    case LP_EVENT_PROGRESS:
        EXPECT(event->computed_tokens > 0 && event->computed_tokens < event->prompt_tokens);
        heard->n_progress++;
        return 0;
    case LP_EVENT_CHANGE:
    case LP_EVENT_TUNING:
        EXPECT(event->text_bytes > 0 && event->text_bytes < sizeof heard->json && event->text[0] == '{');
        memcpy(heard->json, event->text, event->text_bytes);
        heard->json[event->text_bytes] = 0;
        event->kind == LP_EVENT_CHANGE ? heard->n_changes++ : heard->n_tuning++;
        return 0;
    default:
        return 0;
    }
}

static int count_progress(void *user_data, const lp_event *event) {
    EXPECT(event->kind == LP_EVENT_LOADING && event->fraction >= 0.0 && event->fraction <= 1.0);
    ++*(int *)user_data;
    return 0;
}

static int stop_loading(void *user_data, const lp_event *event) {
    (void)user_data;
    (void)event;
    return 1;
}

static lp_generate_options greedy(uint32_t max_tokens) {
    lp_generate_options options;
    lp_generate_options_init(&options, sizeof options);
    EXPECT(options.struct_size == sizeof options && options.max_tokens == 512 && options.top_k == 40);
    options.temperature = 0.0f;
    options.max_tokens = max_tokens;
    return options;
}

static void bad_arguments(const char *model_path, const char *garbage, const char *missing) {
    lp_runtime *runtime = (lp_runtime *)&runtime;
    lp_error *error = NULL;
    FAILS(lp_runtime_open(missing, NULL, &runtime, &error), LP_NOT_FOUND);
    EXPECT(runtime == NULL);
    FAILS(lp_runtime_open(garbage, NULL, &runtime, &error), LP_INVALID_FILE);
    FAILS(lp_runtime_open(NULL, NULL, &runtime, &error), LP_INVALID_ARGUMENT);
    FAILS(lp_runtime_open("\xff", NULL, &runtime, &error), LP_INVALID_ARGUMENT);
    FAILS(lp_runtime_open(model_path, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    EXPECT(lp_runtime_open(missing, NULL, &runtime, NULL) == LP_NOT_FOUND);
    lp_runtime_options options;
    lp_runtime_options_init(&options, sizeof options);
    options.cpu_variant = "abacus";
    FAILS(lp_runtime_open(model_path, &options, &runtime, &error), LP_INVALID_ARGUMENT);
    options.struct_size = 0;
    FAILS(lp_runtime_open(model_path, &options, &runtime, &error), LP_INVALID_ARGUMENT);
    FAILS(lp_runtime_plan(NULL, NULL, (char **)&runtime, &error), LP_INVALID_ARGUMENT);
    lp_session *session = NULL;
    FAILS(lp_session_open(NULL, NULL, &session, &error), LP_INVALID_ARGUMENT);
    FAILS(lp_session_generate(NULL, "a", NULL, NULL, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    EXPECT(lp_error_status(NULL) == LP_OK && *lp_error_message(NULL) == 0);
    lp_error_free(NULL), lp_runtime_free(NULL), lp_model_free(NULL), lp_session_free(NULL);
    lp_cancel_free(NULL), lp_cancel_raise(NULL), lp_cancel_lower(NULL), lp_string_free(NULL);
    puts("bad arguments");
}

static void planning(const lp_runtime *runtime) {
    lp_error *error = NULL;
    char *json = NULL;
    OK(lp_runtime_plan(runtime, NULL, &json, &error));
    EXPECT(strstr(json, "\"chosen\":{") && strstr(json, "\"rejected\":["));
    lp_string_free(json);
    lp_plan_options options;
    lp_plan_options_init(&options, sizeof options);
    options.memory_budget_bytes = 1000;
    OK(lp_runtime_plan(runtime, &options, &json, &error));
    EXPECT(strstr(json, "\"chosen\":null"));
    lp_string_free(json);
    lp_plan_options_init(&options, sizeof options);
    options.memory_cap_bytes = 1000;
    OK(lp_runtime_plan(runtime, &options, &json, &error));
    EXPECT(strstr(json, "\"chosen\":null") && strstr(json, "capped by the app"));
    lp_string_free(json);
    lp_model *model = NULL;
    FAILS(lp_runtime_load(runtime, &options, NULL, NULL, NULL, &model, &error), LP_DOES_NOT_FIT);
    EXPECT(model == NULL);
    FAILS(lp_runtime_load(runtime, NULL, NULL, stop_loading, NULL, &model, &error), LP_CANCELLED);
    puts("planning");
}

static void generating(lp_session *session) {
    lp_error *error = NULL;
    lp_generate_options options = greedy(12);
    answer first = {0}, second = {0}, stopped = {0}, cancelled = {0};
    OK(lp_session_generate(session, "Once upon a time", &options, NULL, listen, &first, &error));
    EXPECT(first.n_done == 1 && first.last.kind == LP_EVENT_DONE);
    EXPECT(first.last.completion_tokens == 12 ? first.last.stop_reason == LP_STOP_MAX_TOKENS
                                              : first.last.stop_reason == LP_STOP_END_OF_TURN);
    OK(lp_session_generate(session, "Once upon a time", &options, NULL, listen, &second, &error));
    EXPECT(second.last.reused_tokens > 0 && second.last.prompt_tokens == first.last.prompt_tokens);
    EXPECT(first.n_tokens == second.n_tokens);
    EXPECT(memcmp(first.tokens, second.tokens, first.n_tokens * sizeof first.tokens[0]) == 0);
    stopped.stop_after = 3;
    OK(lp_session_generate(session, "Once", &options, NULL, listen, &stopped, &error));
    EXPECT(stopped.n_tokens == 3 && stopped.last.stop_reason == LP_STOP_CANCELLED && stopped.n_done == 1);
    cancelled.raise = lp_cancel_new();
    OK(lp_session_generate(session, "Once", &options, cancelled.raise, listen, &cancelled, &error));
    EXPECT(cancelled.n_tokens == 1 && cancelled.last.stop_reason == LP_STOP_CANCELLED);
    lp_cancel_lower(cancelled.raise);
    OK(lp_session_generate(session, "Once", &options, cancelled.raise, NULL, NULL, &error));
    lp_cancel_free(cancelled.raise);
    puts("generating");
}

static void options_of_other_versions(lp_session *session) {
    lp_error *error = NULL;
    lp_generate_options options = greedy(5);
    /* A caller that knows only the first fields: the rest, here nonsense, takes its defaults. */
    options.struct_size = offsetof(lp_generate_options, temperature);
    options.top_p = -7.0f;
    OK(lp_session_generate(session, "Once", &options, NULL, NULL, NULL, &error));
    options.struct_size = sizeof options;
    FAILS(lp_session_generate(session, "Once", &options, NULL, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    /* A caller from the future. */
    struct { lp_generate_options known; char unknown[64]; } longer;
    lp_generate_options_init(&longer.known, sizeof longer);
    EXPECT(longer.known.struct_size == sizeof longer && longer.unknown[63] == 0);
    longer.known.max_tokens = 2;
    OK(lp_session_generate(session, "Once", &longer.known, NULL, NULL, NULL, &error));
    const char *const stops[] = {"a", NULL};
    lp_generate_options with_stops = greedy(5);
    with_stops.stop_texts = stops;
    with_stops.n_stop_texts = 2;
    FAILS(lp_session_generate(session, "a", &with_stops, NULL, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    puts("options");
}

static void chatting(lp_session *session) {
    lp_error *error = NULL;
    const lp_message messages[] = {{"user", "Tell me a story."}};
    lp_generate_options options = greedy(5);
    answer heard = {0};
    OK(lp_session_chat(session, messages, 1, &options, NULL, listen, &heard, &error));
    EXPECT(heard.n_done == 1 && heard.last.prompt_tokens > 0);
    FAILS(lp_session_chat(session, NULL, 1, &options, NULL, listen, &heard, &error), LP_INVALID_ARGUMENT);
    puts("chatting");
}

/* A warm device computes prompts in shorter parts, which sessions tell; a hot one takes no work. */
static void governing(const lp_model *model, lp_session *session) {
    lp_error *error = NULL;
    answer reported = {0}, heard = {0};
    lp_signals signals;
    lp_signals_init(&signals, sizeof signals);
    EXPECT(signals.struct_size == sizeof signals && signals.heat == -1 && signals.usable_cpus == 0);
    OK(lp_model_report(model, &signals, listen, &reported, &error));
    EXPECT(reported.n_changes == 0);
    signals.heat = 1;
    signals.background = 1;
    OK(lp_model_report(model, &signals, listen, &reported, &error));
    EXPECT(reported.n_changes > 0 && strstr(reported.json, "\"governed\"") && strstr(reported.json, "\"because\""));
    char prompt[201];
    memset(prompt, 'a', sizeof prompt - 1);
    prompt[sizeof prompt - 1] = 0;
    lp_generate_options options = greedy(4);
    OK(lp_session_generate(session, prompt, &options, NULL, listen, &heard, &error));
    EXPECT(heard.n_changes == reported.n_changes && heard.n_progress > 0 && heard.n_done == 1);
    signals.heat = 2;
    OK(lp_model_report(model, &signals, NULL, NULL, &error));
    FAILS(lp_session_generate(session, prompt, &options, NULL, NULL, NULL, &error), LP_BUSY);
    signals.heat = 7;
    FAILS(lp_model_report(model, &signals, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    FAILS(lp_model_report(NULL, &signals, NULL, NULL, &error), LP_INVALID_ARGUMENT);
    lp_watch *watch = NULL;
    OK(lp_model_watch(model, 1000, listen, &reported, &watch, &error));
    EXPECT(watch != NULL);
    lp_watch_free(watch), lp_watch_free(NULL);
    puts("governing");
}

static void tuning(const lp_runtime *runtime, const lp_model *model) {
    lp_error *error = NULL;
    char *json = NULL;
    answer heard = {0};
    lp_tune_options options;
    lp_tune_options_init(&options, sizeof options);
    EXPECT(options.budget_s == 12.0 && options.bit_exact == 0);
    options.budget_s = 4.0;
    OK(lp_model_tune(runtime, model, &options, NULL, listen, &heard, &json, &error));
    EXPECT(strstr(json, "\"knobs\":[") && strstr(json, "\"setting\":{"));
    /* On a machine that others use to the full every block may be late, and then none is told. */
    EXPECT(strstr(json, "\"halted\":null") == NULL || heard.n_tuning > 0 || strstr(json, "\"too_late\"") != NULL);
    EXPECT(heard.n_tuning == 0 || strstr(heard.json, "\"tokens_per_s\":["));
    lp_string_free(json);
    options.budget_s = -1.0;
    FAILS(lp_model_tune(runtime, model, &options, NULL, NULL, NULL, &json, &error), LP_INVALID_ARGUMENT);
    EXPECT(json == NULL);
    puts("tuning");
}

int main(int argc, char **argv) {
    EXPECT(argc == 4);
    EXPECT(lp_abi_version() == LP_ABI_VERSION && strchr(lp_version(), '.'));
    bad_arguments(argv[1], argv[2], argv[3]);
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    int progress = 0;
    OK(lp_runtime_open(argv[1], NULL, &runtime, &error));
    planning(runtime);
    lp_plan_options options;
    lp_plan_options_init(&options, sizeof options);
    options.context_tokens = 256;
    options.n_threads = 2;
    OK(lp_runtime_load(runtime, &options, NULL, count_progress, &progress, &model, &error));
    EXPECT(progress > 0);
    OK(lp_session_open(model, NULL, &session, &error));
    tuning(runtime, model);
    governing(model, session);
    lp_session_free(session), lp_model_free(model);
    OK(lp_runtime_load(runtime, &options, NULL, NULL, NULL, &model, &error));
    OK(lp_session_open(model, NULL, &session, &error));
    /* In any order: a session keeps what it needs. */
    lp_runtime_free(runtime);
    lp_model_free(model);
    generating(session);
    options_of_other_versions(session);
    chatting(session);
    lp_session_free(session);
    puts("done");
    return 0;
}
