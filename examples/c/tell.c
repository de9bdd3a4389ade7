/* tell.c: goes on with a text. tell MODEL TEXT */
#include "llama_pajamas.h"

#include <stdio.h>

static int print(void *user_data, const lp_event *event) {
    (void)user_data;
    if (event->kind == LP_EVENT_TEXT) fwrite(event->text, 1, event->text_bytes, stdout), fflush(stdout);
    return 0; /* anything else stops the answer */
}

int main(int argc, char **argv) {
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    lp_generate_options options;
    if (argc != 3) return 2;
    lp_generate_options_init(&options, sizeof options);
    options.max_tokens = 40;
    options.seed = 1;
    lp_status status = lp_runtime_open(argv[1], NULL, &runtime, &error);
    if (status == LP_OK) status = lp_runtime_load(runtime, NULL, NULL, NULL, NULL, &model, &error);
    if (status == LP_OK) status = lp_session_open(model, NULL, &session, &error);
    if (status == LP_OK) status = lp_session_generate(session, argv[2], &options, NULL, print, NULL, &error);
    if (status == LP_OK) putchar('\n');
    else fprintf(stderr, "%s\n", lp_error_message(error));
    lp_error_free(error);
    lp_session_free(session);
    lp_model_free(model);
    lp_runtime_free(runtime);
    return status != LP_OK;
}
