/* chat.c: a conversation on a terminal. Ctrl-C stops an answer, the end of the input the program. chat MODEL */
#include "llama_pajamas.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MESSAGES = 200, LINE_BYTES = 4096 };

typedef struct answer {
    char *text;
    size_t n_bytes;
} answer;

static lp_cancel *cancel; /* raised by Ctrl-C: lp_cancel_raise may be called in a signal handler */

static void interrupted(int number) {
    signal(number, interrupted);
    lp_cancel_raise(cancel);
}

static char *copy(const char *text) {
    char *made = malloc(strlen(text) + 1);
    return made ? strcpy(made, text) : NULL;
}

static int hear(void *user_data, const lp_event *event) {
    answer *all = user_data;
    char *longer;
    if (event->kind != LP_EVENT_TEXT) return 0;
    fwrite(event->text, 1, event->text_bytes, stdout);
    fflush(stdout);
    longer = realloc(all->text, all->n_bytes + event->text_bytes + 1);
    if (!longer) return 1; /* ends the answer */
    memcpy(longer + all->n_bytes, event->text, event->text_bytes);
    all->text = longer;
    all->n_bytes += event->text_bytes;
    longer[all->n_bytes] = 0;
    return 0;
}

int main(int argc, char **argv) {
    lp_runtime *runtime = NULL;
    lp_model *model = NULL;
    lp_session *session = NULL;
    lp_error *error = NULL;
    lp_session_options options;
    lp_generate_options wish;
    lp_message messages[MOST_MESSAGES] = {{"system", "You are a friendly companion. Answer in a few sentences."}};
    size_t n_messages = 1;
    char line[LINE_BYTES];
    lp_status status;
    if (argc != 2) return fprintf(stderr, "usage: chat MODEL\n"), 2;
    lp_session_options_init(&options, sizeof options);
    options.when_full = LP_WHEN_FULL_SHIFT; /* a long conversation loses its older half */
    lp_generate_options_init(&wish, sizeof wish);
    wish.max_tokens = 256;
    cancel = lp_cancel_new();
    signal(SIGINT, interrupted);
    status = lp_runtime_open(argv[1], NULL, &runtime, &error);
    if (status == LP_OK) status = lp_runtime_load(runtime, NULL, cancel, NULL, NULL, &model, &error);
    if (status == LP_OK) status = lp_session_open(model, &options, &session, &error);
    while (status == LP_OK && n_messages + 2 <= MOST_MESSAGES) {
        answer said = {NULL, 0};
        fputs("> ", stdout);
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) break;
        line[strcspn(line, "\r\n")] = 0;
        if (!line[0]) continue;
        messages[n_messages].role = "user";
        messages[n_messages++].content = copy(line);
        lp_cancel_lower(cancel); /* a Ctrl-C at the prompt was for nothing */
        /* The whole conversation is handed in; what the session computed already is not computed again. */
        status = lp_session_chat(session, messages, n_messages, &wish, cancel, hear, &said, &error);
        putchar('\n');
        if (status == LP_OK) {
            messages[n_messages].role = "assistant";
            messages[n_messages++].content = said.text ? said.text : copy("");
        } else {
            free(said.text);
        }
    }
    putchar('\n');
    if (status != LP_OK) fprintf(stderr, "%s\n", lp_error_message(error));
    for (size_t i = 1; i < n_messages; i++) free((char *)messages[i].content);
    lp_error_free(error);
    lp_session_free(session);
    lp_model_free(model);
    lp_runtime_free(runtime);
    signal(SIGINT, SIG_DFL);
    lp_cancel_free(cancel);
    return status != LP_OK;
}
