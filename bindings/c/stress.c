/* Many threads, random calls on shared objects: `stress MODEL THREADS SECONDS [SEED]`.
 *
 * Every thread plans, opens, generates, streams, cancels, forks, saves and frees what it and the others opened, at random. Whatever
 * comes of it has to be a status that the header allows: nothing may crash, hang or leak. Prints how often each call and each status
 * came, and ends with 1 where objects are left, a status is one that must not come, or a thread waits for more than a minute. */

#include "llama_pajamas.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 256, SLOTS = 8, N_STATUSES = 16, N_CALLS = 12 };

static lp_runtime *runtime;
/* Handles that everybody uses and frees. Reading one while another thread frees it is what is tested: they are numbers. */
static lp_model *_Atomic models[SLOTS];
static lp_session *_Atomic sessions[SLOTS];
static lp_stream *_Atomic streams[SLOTS];
static lp_cancel *cancels[SLOTS];
static volatile int over;
static time_t last_call[MOST_THREADS];
static unsigned long calls[MOST_THREADS][N_CALLS], statuses[MOST_THREADS][N_STATUSES];
static const char *const names[N_CALLS] = {"plan", "load", "session", "generate", "cancel", "stream", "next", "free stream",
                                           "free session", "free model", "save and restore", "fork"};

static unsigned next_random(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static int hear(void *user_data, const lp_event *event) {
    return event->kind == LP_EVENT_TOKEN && next_random((unsigned *)user_data) % 50 == 0;
}

static lp_status plan(void) {
    char *json = NULL;
    lp_status status = lp_runtime_plan(runtime, NULL, &json, NULL);
    lp_string_free(json);
    return status;
}

static lp_status load(lp_model **out, const lp_cancel *cancel) {
    lp_plan_options options;
    lp_plan_options_init(&options, sizeof options);
    options.context_tokens = 256;
    options.n_threads = 1;
    return lp_runtime_load(runtime, &options, cancel, NULL, NULL, out, NULL);
}

static lp_status generate(lp_session *session, const lp_cancel *cancel, unsigned *random) {
    lp_generate_options options;
    lp_generate_options_init(&options, sizeof options);
    options.max_tokens = next_random(random) % 24;
    return lp_session_generate(session, "Once upon a time", &options, cancel, hear, random, NULL);
}

static lp_status save_and_restore(lp_session *from, lp_session *to) {
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    lp_status status = lp_session_save(from, &bytes, &n_bytes, NULL);
    if (status == LP_OK) status = lp_session_restore(to, bytes, n_bytes, NULL);
    lp_bytes_free(bytes, n_bytes);
    return status;
}

static lp_status call(unsigned which, unsigned *random) {
    unsigned slot = next_random(random) % SLOTS;
    const lp_cancel *cancel = cancels[next_random(random) % SLOTS];
    lp_status status = LP_OK;
    switch (which) {
    case 0: return plan();
    case 1: {
        lp_model *model = NULL;
        if (slot > 2) return LP_OK; /* a few models are enough */
        status = load(&model, cancel);
        if (status == LP_OK) lp_model_free(__atomic_exchange_n(&models[slot], model, __ATOMIC_ACQ_REL));
        return status;
    }
    case 2: {
        lp_session *session = NULL;
        status = lp_session_open(models[slot % 3], NULL, &session, NULL);
        if (status == LP_OK) lp_session_free(__atomic_exchange_n(&sessions[slot], session, __ATOMIC_ACQ_REL));
        return status;
    }
    case 3: return generate(sessions[slot], cancel, random);
    case 4: {
        lp_cancel_raise(cancel);
        usleep(next_random(random) % 1000);
        lp_cancel_lower(cancel);
        lp_stream_cancel(streams[slot]);
        return LP_OK;
    }
    case 5: {
        lp_stream *stream = NULL;
        lp_generate_options options;
        lp_generate_options_init(&options, sizeof options);
        options.max_tokens = 24;
        status = lp_stream_generate(sessions[slot], "Once upon a time", &options, &stream, NULL);
        if (status == LP_OK) lp_stream_free(__atomic_exchange_n(&streams[slot], stream, __ATOMIC_ACQ_REL));
        return status;
    }
    case 6: {
        const lp_event *event = NULL;
        return lp_stream_next(streams[slot], (int64_t)(next_random(random) % 5), &event, NULL);
    }
    case 7: lp_stream_free(streams[slot]); return LP_OK; /* the handle stays: freed twice, used after */
    case 8: lp_session_free(sessions[slot]); return LP_OK;
    case 9:
        if (next_random(random) % 20 == 0) lp_model_free(models[slot % 3]);
        return LP_OK;
    case 10: return save_and_restore(sessions[slot], sessions[next_random(random) % SLOTS]);
    default: {
        lp_session *fork = NULL;
        status = lp_session_fork(sessions[slot], &fork, NULL);
        if (status == LP_OK) lp_session_free(__atomic_exchange_n(&sessions[slot], fork, __ATOMIC_ACQ_REL));
        return status;
    }
    }
}

static void *work(void *user_data) {
    size_t self = (size_t)(uintptr_t)user_data;
    unsigned random = (unsigned)self * 2654435761u + 1;
    while (!over) {
        unsigned which = next_random(&random) % N_CALLS;
        last_call[self] = time(NULL);
        lp_status status = call(which, &random);
        calls[self][which]++;
        statuses[self][(unsigned)status % N_STATUSES]++;
    }
    last_call[self] = 0;
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: stress MODEL THREADS SECONDS\n");
        return 2;
    }
    size_t n_threads = (size_t)strtoul(argv[2], NULL, 10);
    pthread_t threads[MOST_THREADS];
    lp_error *error = NULL;
    if (n_threads > MOST_THREADS || lp_runtime_open(argv[1], NULL, &runtime, &error) != LP_OK) {
        fprintf(stderr, "%s\n", lp_error_message(error));
        return 2;
    }
    for (size_t i = 0; i < SLOTS; i++) cancels[i] = lp_cancel_new();
    for (size_t i = 0; i < n_threads; i++) pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i);
    time_t end = time(NULL) + strtol(argv[3], NULL, 10);
    int wrong = 0;
    while (time(NULL) < end) {
        sleep(1);
        for (size_t i = 0; i < n_threads; i++)
            if (last_call[i] && time(NULL) - last_call[i] > 60) {
                fprintf(stderr, "thread %zu waits for a minute: a deadlock\n", i);
                return 1;
            }
    }
    over = 1;
    for (size_t i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < SLOTS; i++) {
        lp_stream_free(streams[i]);
        lp_session_free(sessions[i]);
        lp_model_free(models[i]);
        lp_cancel_free(cancels[i]);
    }
    lp_runtime_free(runtime);
    unsigned long all = 0;
    for (size_t which = 0; which < N_CALLS; which++) {
        unsigned long count = 0;
        for (size_t i = 0; i < n_threads; i++) count += calls[i][which];
        printf("%s %lu, ", names[which], count);
        all += count;
    }
    printf("in all %lu;", all);
    for (unsigned status = 0; status < N_STATUSES; status++) {
        unsigned long count = 0;
        for (size_t i = 0; i < n_threads; i++) count += statuses[i][status];
        if (count) printf(" status %u: %lu", status, count);
        /* Objects come and go, memory may run short; anything else is a defect. */
        int allowed = status == LP_OK || status == LP_INVALID_ARGUMENT || status == LP_CANCELLED || status == LP_IN_USE ||
                      status == LP_DOES_NOT_FIT || status == LP_BUSY;
        if (count && !allowed) wrong = 1;
    }
    size_t left = lp_live_objects();
    printf("; %zu objects left\n", left);
    return wrong || left != 0;
}
