/* What a token costs through the C interface: `bench MODEL TOKENS ROUNDS`. Prints, per round, CPU microseconds per token. */

#include "llama_pajamas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static double cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

typedef struct text {
    char bytes[1 << 16];
    size_t n_bytes, n_tokens;
} text;

static int hear(void *user_data, const lp_event *event) {
    text *all = (text *)user_data;
    if (event->kind == LP_EVENT_TOKEN) all->n_tokens++;
    if (event->kind == LP_EVENT_TEXT && all->n_bytes + event->text_bytes < sizeof all->bytes) {
        memcpy(all->bytes + all->n_bytes, event->text, event->text_bytes);
        all->n_bytes += event->text_bytes;
    }
    return 0;
}

int main(int argc, char **argv) {
    static text all;
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    lp_plan_options plan;
    lp_generate_options options;
    lp_plan_options_init(&plan, sizeof plan);
    lp_generate_options_init(&options, sizeof options);
    plan.context_tokens = 2048;
    plan.n_threads = 1;
    options.max_tokens = argc == 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    options.temperature = 0.0f;
    options.ignore_end_of_turn = 1;
    if (argc != 4 || lp_runtime_open(argv[1], NULL, &runtime, &error) ||
        lp_runtime_load(runtime, &plan, NULL, NULL, NULL, &model, &error) || lp_session_open(model, NULL, &session, &error)) {
        fprintf(stderr, "usage: bench MODEL TOKENS ROUNDS %s\n", lp_error_message(error));
        return 2;
    }
    for (long round = strtol(argv[3], NULL, 10); round > 0; round--) {
        memset(&all, 0, sizeof all);
        double before = cpu_us();
        if (lp_session_generate(session, "Once upon a time", &options, NULL, hear, &all, &error)) return 1;
        printf("%.3f\n", (cpu_us() - before) / (double)all.n_tokens);
    }
    lp_session_free(session), lp_model_free(model), lp_runtime_free(runtime);
    return 0;
}
