/* ask.c: one question, never waiting longer than a frame. ask MODEL QUESTION */
#include "llama_pajamas.h"

#include <stdio.h>

int main(int argc, char **argv) {
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_stream *stream = NULL;
    lp_error *error = NULL;
    lp_generate_options options;
    const lp_event *event = NULL;
    int frames = 0, is_over = 0;
    if (argc != 3) return 2;
    lp_generate_options_init(&options, sizeof options);
    options.max_tokens = 40;
    const lp_message messages[] = {{"system", "Answer in one sentence."}, {"user", argv[2]}};
    lp_status status = lp_runtime_open(argv[1], NULL, &runtime, &error);
    if (status == LP_OK) status = lp_runtime_load(runtime, NULL, NULL, NULL, NULL, &model, &error);
    if (status == LP_OK) status = lp_session_open(model, NULL, &session, &error);
    if (status == LP_OK) status = lp_stream_chat(session, messages, 2, &options, &stream, &error);
    while (status == LP_OK && !is_over) {
        status = lp_stream_next(stream, 16, &event, &error); /* at most a frame; 0 would not wait at all */
        frames++;
        if (status != LP_OK) break;
        if (event->kind == LP_EVENT_TEXT) printf("%.*s", (int)event->text_bytes, event->text);
        is_over = event->kind == LP_EVENT_DONE;
    }
    printf("\n(%s)\n", status == LP_OK ? "done" : lp_error_message(error));
    lp_error_free(error);
    lp_stream_free(stream); /* would cancel, were it not over */
    lp_session_free(session);
    lp_model_free(model);
    lp_runtime_free(runtime);
    return status != LP_OK || frames == 0;
}
