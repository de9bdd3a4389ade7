/* Runs the table of scenarios through the C interface: `scenarios TABLE FILES`, as every language's program does.
 * Prints scenario, step and outcome of every line. Threads are POSIX threads. */

#include "llama_pajamas.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Exported by libraries that are built for tests. */
lp_status lp_test_panic(lp_error **error);

enum { MOST_ARGUMENTS = 32, MOST_THREADS = 64 };

/* ---- a line of the table ---- */

typedef struct line {
    const char *scenario, *step;
    const char *names[MOST_ARGUMENTS], *values[MOST_ARGUMENTS];
    size_t n_arguments;
} line;

static const char *files; /* where paths begin */

static const char *argument(const line *line, const char *name) {
    for (size_t i = 0; i < line->n_arguments; i++)
        if (strcmp(line->names[i], name) == 0) return line->values[i];
    return NULL;
}

static double number(const line *line, const char *name, double missing) {
    const char *value = argument(line, name);
    return value ? strtod(value, NULL) : missing;
}

static int is(const line *line, const char *name, const char *value) {
    const char *given = argument(line, name);
    return given && strcmp(given, value) == 0;
}

/* The prompt, as often as `times` says; it stays this program's. */
static const char *prompt(const line *line) {
    static char text[8192];
    const char *once = argument(line, "prompt");
    size_t times = (size_t)number(line, "times", 1);
    text[0] = 0;
    for (size_t i = 0; once && i < times && strlen(text) + strlen(once) < sizeof text; i++) strcat(text, once);
    return once ? text : NULL;
}

static char *place(const line *line, const char *name) {
    static char path[4096];
    const char *value = argument(line, name);
    snprintf(path, sizeof path, "%s/%s", files, value ? value : "");
    return path;
}

static void unescape(char *text) {
    char *to = text;
    for (char *from = text; *from; from++)
        *to++ = *from == '\\' && from[1] == 'n' ? (from++, '\n') : *from;
    *to = 0;
}

/* Cuts a line of the table at its tabs. */
static void parse(char *text, line *result) {
    char *rest = text;
    memset(result, 0, sizeof *result);
    for (size_t column = 0; rest; column++) {
        char *cell = rest;
        rest = strchr(rest, '\t');
        if (rest) *rest++ = 0;
        if (column == 0) result->scenario = cell;
        else if (column == 1) result->step = cell;
        else if (strncmp(cell, "=> ", 3) != 0 && result->n_arguments < MOST_ARGUMENTS) {
            char *value = strchr(cell, '=');
            if (!value) continue;
            *value++ = 0;
            unescape(value);
            result->names[result->n_arguments] = cell;
            result->values[result->n_arguments++] = value;
        }
    }
}

/* ---- objects of a scenario ---- */

static lp_runtime *runtime;
static lp_model *model;
static lp_session *session;
static lp_adapter *adapter;
static lp_embedder *embedder;
static uint8_t *state;
static size_t n_state;

static void close_all(void) {
    lp_session_free(session), session = NULL;
    lp_embedder_free(embedder), embedder = NULL;
    lp_adapter_free(adapter), adapter = NULL;
    lp_model_free(model), model = NULL;
    lp_runtime_free(runtime), runtime = NULL;
    lp_bytes_free(state, n_state), state = NULL, n_state = 0;
}

/* ---- outcomes ---- */

/* Of the call that failed last. */
static lp_error *failure;

/* Prints `error CODE DETAILS` where there is a failure. */
static int succeeded(lp_status status) {
    if (status == LP_OK) return 1;
    const char *details = lp_error_details(failure);
    const char *code = strstr(details, "\"code\":\"") + 8;
    printf("error %.*s %s", (int)strcspn(code, "\""), code, details);
    if (lp_error_status(failure) != status) printf(" statuses differ");
    lp_error_free(failure);
    return 0;
}

static void quoted(const char *text, size_t n_bytes) {
    putchar('"');
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == '\n') fputs("\\n", stdout);
        else if (text[i] == '\t') fputs("\\t", stdout);
        else if (text[i] == '"') fputs("\\\"", stdout);
        else putchar(text[i]);
    }
    putchar('"');
}

/* Prints the text behind `key`, behind `anchor`, up to a quote or comma. */
static void value_of(const char *json, const char *anchor, const char *key) {
    const char *at = anchor ? strstr(json, anchor) : json;
    at = at ? strstr(at, key) : NULL;
    if (!at) {
        fputs("none", stdout);
        return;
    }
    at += strlen(key);
    printf("%.*s", (int)strcspn(at, "\",}"), at);
}

static size_t times(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) count++;
    return count;
}

/* ---- generating ---- */

typedef struct heard {
    char *text;
    size_t n_bytes, n_tokens, n_logprobs, n_changes;
    size_t cancel_at, break_at; /* 0: never */
    lp_cancel *cancel;
    lp_event done;
    pthread_mutex_t *first; /* unlocked at the first token */
} heard;

static int hear(void *user_data, const lp_event *event) {
    heard *all = (heard *)user_data;
    switch (event->kind) {
    case LP_EVENT_TOKEN:
        if (++all->n_tokens == 1 && all->first) pthread_mutex_unlock(all->first);
        if (all->n_tokens == all->cancel_at) lp_cancel_raise(all->cancel);
        return all->n_tokens == all->break_at;
    case LP_EVENT_TEXT:
        all->text = (char *)realloc(all->text, all->n_bytes + event->text_bytes + 1);
        memcpy(all->text + all->n_bytes, event->text, event->text_bytes);
        all->n_bytes += event->text_bytes;
        return 0;
    case LP_EVENT_LOGPROBS: all->n_logprobs++; return 0;
    case LP_EVENT_CHANGE: all->n_changes++; return 0;
    case LP_EVENT_DONE: all->done = *event; return 0;
    default: return 0;
    }
}

static const char *const reasons[] = {"end_of_turn", "stop_text", "max_tokens", "context", "cancelled"};

static void answer(const heard *all) {
    printf("stop=%s completion=%llu prompt=%llu reused=%llu", reasons[all->done.stop_reason],
           (unsigned long long)all->done.completion_tokens, (unsigned long long)all->done.prompt_tokens,
           (unsigned long long)all->done.reused_tokens);
    if (all->n_logprobs) printf(" logprobs=%zu", all->n_logprobs);
    printf(" text=");
    quoted(all->text, all->n_bytes);
}

/* The options that a line asks for; stop texts and adapters are kept in `stops` and `used`. */
static lp_generate_options generate_options(const line *line, const char **stops, lp_adapter_use *used) {
    lp_generate_options options;
    lp_generate_options_init(&options, sizeof options);
    options.max_tokens = (uint32_t)number(line, "max", 512);
    options.temperature = (float)number(line, "temperature", 0);
    options.top_p = (float)number(line, "top_p", options.top_p);
    options.seed = (uint64_t)number(line, "seed", 0);
    options.json_schema = argument(line, "schema");
    options.regex = argument(line, "regex");
    options.grammar = argument(line, "grammar");
    options.ignore_end_of_turn = (uint32_t)number(line, "ignore_end", 0);
    options.top_logprobs = (int32_t)number(line, "logprobs", -1);
    options.stop_texts = stops;
    for (size_t i = 0; i < line->n_arguments; i++)
        if (strcmp(line->names[i], "stop") == 0) stops[options.n_stop_texts++] = line->values[i];
    if (argument(line, "adapter")) {
        used->adapter = adapter;
        used->scale = (float)number(line, "adapter", 1);
        used->reserved = 0;
        options.adapters = used;
        options.n_adapters = 1;
    }
    return options;
}

static size_t messages(const line *line, lp_message *list) {
    size_t count = 0;
    for (size_t i = 0; i < line->n_arguments; i++) {
        const char *name = line->names[i];
        if (strcmp(name, "system") == 0 || strcmp(name, "user") == 0 || strcmp(name, "assistant") == 0) {
            list[count].role = name;
            list[count++].content = line->values[i];
        }
    }
    return count;
}

static void *raise_after(void *user_data) {
    heard *all = (heard *)user_data;
    pthread_mutex_lock(all->first);
    lp_cancel_raise(all->cancel);
    pthread_mutex_unlock(all->first);
    return NULL;
}

static void generate(const line *line) {
    const char *stops[MOST_ARGUMENTS];
    lp_message list[MOST_ARGUMENTS];
    lp_adapter_use used;
    lp_generate_options options = generate_options(line, stops, &used);
    heard all;
    pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
    pthread_t other;
    int in_thread = is(line, "cancel", "thread");
    memset(&all, 0, sizeof all);
    all.cancel = lp_cancel_new();
    if (is(line, "cancel", "before")) lp_cancel_raise(all.cancel);
    else if (!in_thread) all.cancel_at = (size_t)number(line, "cancel", 0);
    all.break_at = (size_t)number(line, "break", 0);
    if (in_thread) {
        all.first = &first;
        pthread_mutex_lock(&first);
        pthread_create(&other, NULL, raise_after, &all);
    }
    lp_status status;
    if (strcmp(line->step, "chat") == 0) {
        size_t count = messages(line, list);
        status = lp_session_chat(session, list, count, &options, all.cancel, hear, &all, &failure);
    } else {
        status = lp_session_generate(session, prompt(line), &options, all.cancel, hear, &all, &failure);
    }
    if (in_thread) pthread_join(other, NULL);
    if (succeeded(status)) {
        if (in_thread) printf("stop=%s", reasons[all.done.stop_reason]);
        else answer(&all);
    }
    lp_cancel_free(all.cancel);
    free(all.text);
}

static void stream(const line *line) {
    const char *stops[MOST_ARGUMENTS];
    lp_message list[MOST_ARGUMENTS];
    lp_adapter_use used;
    lp_generate_options options = generate_options(line, stops, &used);
    lp_stream *stream = NULL;
    size_t cancel_at = (size_t)number(line, "cancel", 0), drop_at = (size_t)number(line, "drop", 0);
    int64_t patience = argument(line, "poll") ? 0 : -1;
    heard all;
    memset(&all, 0, sizeof all);
    lp_status status;
    if (strcmp(line->step, "stream_chat") == 0) {
        size_t count = messages(line, list);
        status = lp_stream_chat(session, list, count, &options, &stream, &failure);
    } else {
        status = lp_stream_generate(session, prompt(line), &options, &stream, &failure);
    }
    if (!succeeded(status)) return;
    for (;;) {
        const lp_event *event = NULL;
        status = lp_stream_next(stream, patience, &event, &failure);
        if (!succeeded(status)) break;
        hear(&all, event);
        if (event->kind == LP_EVENT_TOKEN && all.n_tokens == cancel_at) lp_stream_cancel(stream);
        if (event->kind == LP_EVENT_TOKEN && all.n_tokens == drop_at) {
            printf("dropped");
            break;
        }
        if (event->kind == LP_EVENT_DONE) {
            if (cancel_at) printf("stop=%s", reasons[all.done.stop_reason]);
            else answer(&all);
            break;
        }
    }
    lp_stream_free(stream);
    free(all.text);
}

/* ---- threads ---- */

typedef struct worker {
    const line *line;
    heard all;
    lp_status status;
} worker;

static void *work(void *user_data) {
    worker *self = (worker *)user_data;
    const char *stops[MOST_ARGUMENTS];
    lp_adapter_use used;
    lp_generate_options options = generate_options(self->line, stops, &used);
    lp_session *own = NULL;
    self->status = lp_session_open(model, NULL, &own, NULL);
    if (self->status == LP_OK)
        self->status = lp_session_generate(own, argument(self->line, "prompt"), &options, NULL, hear, &self->all, NULL);
    lp_session_free(own);
    return NULL;
}

static void threads(const line *line) {
    worker workers[MOST_THREADS];
    pthread_t handles[MOST_THREADS];
    size_t count = (size_t)number(line, "n", 2);
    int same = 1;
    memset(workers, 0, sizeof workers);
    for (size_t i = 0; i < count; i++) {
        workers[i].line = line;
        pthread_create(&handles[i], NULL, work, &workers[i]);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(handles[i], NULL);
        same = same && workers[i].status == LP_OK && workers[i].all.n_bytes == workers[0].all.n_bytes &&
               memcmp(workers[i].all.text, workers[0].all.text, workers[0].all.n_bytes) == 0;
    }
    printf("threads=%zu same=%s text=", count, same ? "yes" : "no");
    quoted(workers[0].all.text, workers[0].all.n_bytes);
    for (size_t i = 0; i < count; i++) free(workers[i].all.text);
}

/* ---- the steps ---- */

static int stop_at_once(void *user_data, const lp_event *event) {
    (void)user_data, (void)event;
    return 1;
}

static lp_plan_options plan_options(const line *line) {
    lp_plan_options options;
    lp_plan_options_init(&options, sizeof options);
    options.context_tokens = (uint64_t)number(line, "context", 0);
    options.memory_budget_bytes = (uint64_t)number(line, "budget", 0);
    options.memory_cap_bytes = (uint64_t)number(line, "cap", 0);
    options.n_threads = (uint32_t)number(line, "threads", 0);
    options.variant = argument(line, "variant");
    return options;
}

static void run(const line *line) {
    const char *step = line->step;
    char *json = NULL;
    lp_cancel *cancel = lp_cancel_new();
    if (is(line, "cancel", "before")) lp_cancel_raise(cancel);
    if (strcmp(step, "versions") == 0) {
        printf("abi=%u library=%s", (unsigned)lp_abi_version(), lp_version());
    } else if (strcmp(step, "host") == 0) {
        if (succeeded(lp_host_report(&json, &failure))) printf("%s", strstr(json, "\"cpu\":{") ? "ok" : json);
    } else if (strcmp(step, "open") == 0) {
        lp_runtime_options options;
        lp_runtime_options_init(&options, sizeof options);
        options.cpu_variant = argument(line, "cpu_variant");
        lp_runtime_free(runtime);
        if (succeeded(lp_runtime_open(place(line, "path"), &options, &runtime, &failure))) printf("ok");
    } else if (strcmp(step, "describe") == 0) {
        if (succeeded(lp_runtime_describe(runtime, &json, &failure))) {
            char *end = strstr(json, ",\"bundle\":"); /* behind the variants */
            if (end) *end = 0;
            printf("variants=%zu first=", times(json, "\"description\":"));
            value_of(json, "\"variants\":[", "\"id\":\"");
        }
    } else if (strcmp(step, "verify") == 0) {
        lp_status status = lp_bundle_verify(place(line, "path"), NULL, cancel, NULL, NULL, &json, &failure);
        if (succeeded(status)) printf("ok files="), value_of(json, NULL, "\"files\":");
    } else if (strcmp(step, "pull") == 0) {
        lp_status status = lp_bundle_pull(argument(line, "url"), place(line, "to"), NULL, cancel, NULL, NULL, &json, &failure);
        if (succeeded(status)) printf("ok");
    } else if (strcmp(step, "plan") == 0) {
        lp_plan_options options = plan_options(line);
        if (succeeded(lp_runtime_plan(runtime, &options, &json, &failure))) {
            printf("chosen=");
            value_of(json, "\"chosen\":{", "\"id\":\"");
            if (strstr(json, "\"chosen\":{")) printf(" context="), value_of(json, NULL, "\"context_tokens\":");
        }
    } else if (strcmp(step, "load") == 0) {
        lp_plan_options options = plan_options(line);
        lp_model_free(model);
        lp_status status = lp_runtime_load(runtime, &options, cancel, argument(line, "break") ? stop_at_once : NULL, NULL,
                                           &model, &failure);
        if (succeeded(status)) printf("ok");
    } else if (strcmp(step, "describe_model") == 0) {
        if (succeeded(lp_model_describe(model, &json, &failure))) {
            printf("chosen="), value_of(json, "\"choice\":{", "\"id\":\"");
            printf(" decoder=%s vocabulary=", strstr(json, "\"is_decoder\":true") ? "yes" : "no");
            value_of(json, NULL, "\"n_vocab\":");
        }
    } else if (strcmp(step, "tokenize") == 0) {
        int32_t tokens[256];
        size_t n_tokens = 0;
        lp_status status = lp_model_tokenize(model, argument(line, "text"), 1, tokens, 256, &n_tokens, &failure);
        if (succeeded(status)) {
            printf("n=%zu tokens=", n_tokens);
            for (size_t i = 0; i < n_tokens; i++) printf("%s%d", i ? "," : "", (int)tokens[i]);
        }
    } else if (strcmp(step, "detokenize") == 0) {
        int32_t tokens[256];
        size_t count = 0;
        for (const char *at = argument(line, "tokens"); at && count < 256; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
            tokens[count++] = (int32_t)strtol(at, NULL, 10);
        if (succeeded(lp_model_detokenize(model, tokens, count, &json, &failure))) {
            printf("text="), quoted(json, strlen(json));
        }
    } else if (strcmp(step, "session") == 0) {
        lp_session_options options;
        lp_session_options_init(&options, sizeof options);
        options.context_tokens = (uint32_t)number(line, "context", 0);
        options.when_full = (uint32_t)number(line, "when_full", 0);
        lp_session_free(session);
        if (succeeded(lp_session_open(model, &options, &session, &failure))) printf("ok");
    } else if (strcmp(step, "generate") == 0 || strcmp(step, "chat") == 0) {
        generate(line);
    } else if (strcmp(step, "stream") == 0 || strcmp(step, "stream_chat") == 0) {
        stream(line);
    } else if (strcmp(step, "threads") == 0) {
        threads(line);
    } else if (strcmp(step, "save") == 0) {
        if (succeeded(lp_session_save(session, &state, &n_state, &failure))) printf("ok bytes=%zu", n_state);
    } else if (strcmp(step, "restore") == 0) {
        const uint8_t *bytes = argument(line, "bytes") ? (const uint8_t *)argument(line, "bytes") : state;
        size_t count = argument(line, "bytes") ? strlen(argument(line, "bytes")) : n_state;
        if (succeeded(lp_session_restore(session, bytes, count, &failure))) printf("ok");
    } else if (strcmp(step, "fork") == 0) {
        lp_session *other = NULL;
        if (succeeded(lp_session_fork(session, &other, &failure))) {
            lp_session_free(session);
            session = other;
            printf("ok");
        }
    } else if (strcmp(step, "adapter") == 0) {
        lp_adapter_free(adapter);
        if (succeeded(lp_adapter_load(model, place(line, "path"), &adapter, &failure))) printf("ok");
    } else if (strcmp(step, "embedder") == 0) {
        lp_embed_options options;
        lp_embed_options_init(&options, sizeof options);
        options.max_tokens = (uint32_t)number(line, "max", 0);
        lp_embedder_free(embedder);
        if (succeeded(lp_embedder_open(model, &options, &embedder, &failure))) printf("ok");
    } else if (strcmp(step, "embed") == 0) {
        float values[1024];
        size_t count = 0;
        double square = 0;
        lp_status status = lp_embedder_embed(embedder, argument(line, "text"), cancel, values, 1024, &count, &failure);
        if (succeeded(status)) {
            for (size_t i = 0; i < count; i++) square += (double)values[i] * values[i];
            printf("n=%zu length=%.2f first=%.4f", count, sqrt(square), (double)values[0]);
        }
    } else if (strcmp(step, "report") == 0) {
        lp_signals signals;
        heard all;
        memset(&all, 0, sizeof all);
        lp_signals_init(&signals, sizeof signals);
        signals.heat = (int32_t)number(line, "heat", -1);
        if (succeeded(lp_model_report(model, &signals, hear, &all, &failure))) printf("changes=%zu", all.n_changes);
    } else if (strcmp(step, "watch") == 0) {
        lp_watch *watch = NULL;
        if (succeeded(lp_model_watch(model, 1000, NULL, NULL, &watch, &failure))) printf("ok");
        lp_watch_free(watch);
    } else if (strcmp(step, "tune") == 0) {
        lp_tune_options options;
        lp_tune_options_init(&options, sizeof options);
        options.budget_s = number(line, "budget", 12);
        lp_status status = lp_model_tune(runtime, model, &options, cancel, NULL, NULL, &json, &failure);
        if (succeeded(status)) printf("%s", strstr(json, "\"setting\":{") ? "ok" : json);
    } else if (strcmp(step, "requantize") == 0) {
        lp_requantize_options options;
        lp_requantize_options_init(&options, sizeof options);
        options.precision = argument(line, "precision");
        options.text = "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out "
                       "to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her "
                       "mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed.";
        options.n_ctx = 32, options.max_windows = 2, options.max_kld = 5.0, options.wait_for_mains = 0;
        lp_status status = lp_runtime_requantize(runtime, &options, cancel, NULL, NULL, &json, &failure);
        if (succeeded(status)) printf("published="), value_of(json, "\"published\":{", "\"id\":\"");
    } else if (strcmp(step, "quantize") == 0) {
        const char *precision = argument(line, "precision"), *size = argument(line, "size");
        uint64_t bytes = size ? strtoull(size, NULL, 10) : 0;
        lp_quantize_options options;
        lp_quantize_options_init(&options, sizeof options);
        options.format = argument(line, "format");
        options.precisions = &precision, options.n_precisions = precision != NULL;
        options.target_bytes = &bytes, options.n_target_bytes = size != NULL;
        options.allow_requantize = argument(line, "allow") != NULL, options.dry_run = argument(line, "dry") != NULL;
        options.n_threads = 1;
        char model_path[4096];
        snprintf(model_path, sizeof model_path, "%s", place(line, "model"));
        lp_status status = lp_quantize(model_path, place(line, "to"), &options, cancel, NULL, NULL, &json, &failure);
        if (succeeded(status)) printf("made="), value_of(json, "\"variants\":[{", "\"id\":\"");
    } else if (strcmp(step, "close") == 0) {
        if (is(line, "what", "session")) lp_session_free(session);
        if (is(line, "what", "model")) lp_model_free(model);
        if (is(line, "what", "runtime")) lp_runtime_free(runtime);
        printf("ok"); /* the handle stays as it is: that it was freed, the library knows */
    } else if (strcmp(step, "panic") == 0) {
        if (succeeded(lp_test_panic(&failure))) printf("ok");
    } else {
        printf("unknown step");
    }
    lp_string_free(json);
    lp_cancel_free(cancel);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: scenarios TABLE FILES\n");
        return 2;
    }
    FILE *table = fopen(argv[1], "rb");
    if (!table) {
        perror(argv[1]);
        return 2;
    }
    files = argv[2];
    char text[8192], scenario[256] = "";
    while (fgets(text, sizeof text, table)) {
        text[strcspn(text, "\r\n")] = 0;
        if (text[0] == '#' || text[0] == 0) continue;
        line line;
        parse(text, &line);
        if (strcmp(scenario, line.scenario) != 0) {
            close_all();
            snprintf(scenario, sizeof scenario, "%s", line.scenario);
        }
        printf("%s\t%s\t", line.scenario, line.step);
        run(&line);
        putchar('\n');
        fflush(stdout);
    }
    fclose(table);
    close_all();
    size_t left = lp_live_objects();
    if (left) fprintf(stderr, "%zu objects were not freed\n", left);
    return left != 0;
}
