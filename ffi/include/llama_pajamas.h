/* llama_pajamas.h: the C interface of Llama Pajamas, a runtime for language models on devices.
 *
 *     lp_runtime *runtime = NULL; lp_model *model = NULL; lp_session *session = NULL;
 *     lp_error *error = NULL;
 *     if (lp_runtime_open("story.bundle", NULL, &runtime, &error) ||
 *         lp_runtime_load(runtime, NULL, NULL, NULL, &model, &error) ||
 *         lp_session_open(model, &session, &error) ||
 *         lp_session_generate(session, "Once upon a time", NULL, NULL, print, NULL, &error)) {
 *         fprintf(stderr, "%s\n", lp_error_message(error));
 *         lp_error_free(error);
 *     }
 *     lp_session_free(session); lp_model_free(model); lp_runtime_free(runtime);
 *
 * Rules that hold everywhere:
 *
 * - Texts are UTF-8 and end in NUL unless a length stands beside them.
 * - A function that can fail returns a status; LP_OK is 0. Its last parameter, `error`, may be NULL;
 *   else it receives an error object that the caller frees, or NULL on success. There is no hidden
 *   error state.
 * - Objects that come through `out` belong to the caller, who frees each with the function named
 *   after its type. On failure `*out` is NULL. Freeing NULL does nothing. Objects may be freed in any
 *   order: each keeps what it needs.
 * - An argument that is called optional may be NULL; any other NULL is refused with
 *   LP_INVALID_ARGUMENT, except where a function says otherwise.
 * - A runtime and a model may be used from several threads at once; a session by one thread at a
 *   time; a cancel token from any thread at any time. No object may be used while or after it is
 *   freed.
 * - After an error every object is still valid. A session then holds its text up to the error, and
 *   can go on.
 * - Fill an options struct with its init function, then change what you want. The struct's size
 *   travels with it, so that programs and libraries of different versions understand each other.
 * - Callbacks run on the thread of the call that was given them, and must not use the object of that
 *   call. They must return: no longjmp, no C++ exception.
 * - Nothing is written to standard output or standard error. No signal handler is installed.
 */
#ifndef LLAMA_PAJAMAS_H
#define LLAMA_PAJAMAS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LP_API __declspec(dllimport)
#else
#define LP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What came of a call. Numbers never change their meaning; new ones may come. */
typedef enum lp_status {
    LP_OK = 0,
    LP_INVALID_ARGUMENT = 1, /* an argument is NULL, not UTF-8 or out of range */
    LP_NOT_FOUND = 2,        /* a file or a variant is not there */
    LP_INVALID_FILE = 3,     /* a file is damaged, forged or of an unknown kind */
    LP_DOES_NOT_FIT = 4,     /* no variant fits this device; the message says what would */
    LP_CONTEXT_FULL = 5,     /* the prompt does not fit the context */
    LP_CANCELLED = 6,        /* the caller stopped a load */
    LP_ENGINE = 7,           /* the engine failed */
    LP_INTERNAL = 8,         /* anything else */
    LP_PANIC = 9,            /* a defect of the library was caught: free the objects of the call */
    LP_BUSY = 10             /* no new work is taken at the moment: the device is hot or short of memory */
} lp_status;

typedef struct lp_error lp_error;     /* why a call failed */
typedef struct lp_cancel lp_cancel;   /* a flag that stops a generation */
typedef struct lp_runtime lp_runtime; /* an opened bundle or model file */
typedef struct lp_model lp_model;     /* loaded weights */
typedef struct lp_session lp_session; /* one text in progress */

/* The version of this interface: raised on incompatible change only. */
#define LP_ABI_VERSION 1
LP_API uint32_t lp_abi_version(void);

/* The version of the library, "0.1.0". Never freed. */
LP_API const char *lp_version(void);

/* ---- errors ---- */

/* The status that the failed call returned; LP_OK for NULL. */
LP_API lp_status lp_error_status(const lp_error *error);

/* What went wrong, one line. Valid until the object is freed; the empty text for NULL. */
LP_API const char *lp_error_message(const lp_error *error);

LP_API void lp_error_free(lp_error *error);

/* ---- cancelling ---- */

/* A lowered flag. Never NULL. */
LP_API lp_cancel *lp_cancel_new(void);

/* Raises the flag: a generation that was given it ends with LP_STOP_CANCELLED, within one token's
 * work. It stays raised until lowered. Allowed in callbacks. NULL is ignored. */
LP_API void lp_cancel_raise(const lp_cancel *cancel);

/* Lowers the flag, so that the token can serve the next call. NULL is ignored. */
LP_API void lp_cancel_lower(const lp_cancel *cancel);

/* Allowed while a generation uses the token: it keeps what it needs. */
LP_API void lp_cancel_free(lp_cancel *cancel);

/* ---- opening and planning ---- */

typedef struct lp_runtime_options {
    size_t struct_size;
    /* The CPU variant to use, e.g. "x64"; NULL, the default: the best of this processor. A process
     * has one variant: the first that is used stays, another is refused with LP_ENGINE. */
    const char *cpu_variant;
    /* Folder in which what is measured on this device is kept between starts: tuned settings, speeds,
     * memory; made when needed. NULL, the default: nothing is kept. */
    const char *tuning_folder;
} lp_runtime_options;

LP_API void lp_runtime_options_init(lp_runtime_options *options, size_t struct_size);

/* Opens the bundle directory or GGUF file at `path`: reads its description, no weights.
 * `options` is optional. */
LP_API lp_status lp_runtime_open(const char *path, const lp_runtime_options *options, lp_runtime **out,
                                 lp_error **error);

LP_API void lp_runtime_free(lp_runtime *runtime);

typedef struct lp_plan_options {
    size_t struct_size;
    /* How many tokens of text a session shall hold; 0, the default: what fits, at most 4096. */
    uint64_t context_tokens;
    /* Memory that may be used instead of what the device has to spare, in bytes; 0, the default:
     * what it has. */
    uint64_t memory_budget_bytes;
    /* Only this variant, by id; NULL, the default: any. */
    const char *variant;
    /* Threads that write; 0, the default: what suits the device. */
    uint32_t n_threads;
    /* Most memory that may be used, in bytes, whatever the device has: for apps that need the rest
     * themselves; 0, the default: no cap. */
    uint64_t memory_cap_bytes;
    /* The same for the memory of a graphics device, on which the app draws; 0, the default: no cap. */
    uint64_t device_memory_cap_bytes;
} lp_plan_options;

LP_API void lp_plan_options_init(lp_plan_options *options, size_t struct_size);

/* Chooses a variant and settings for this device and explains the choice: `*json` becomes a JSON
 * object with "chosen" (null when nothing fits), "why", "rejected", "assumptions", each with a stable
 * "code", and "evidence",
 * to be freed with lp_string_free. Reads no weights. `options` is optional. */
LP_API lp_status lp_runtime_plan(const lp_runtime *runtime, const lp_plan_options *options, char **json,
                                 lp_error **error);

/* Frees a text that this library handed out. NULL is ignored. */
LP_API void lp_string_free(char *text);

/* ---- loading ---- */

/* Told how much is loaded, 0 to 1. Return 0 to go on, anything else to stop with LP_CANCELLED. */
typedef int (*lp_progress_fn)(void *user_data, float fraction);

/* Plans as lp_runtime_plan does and loads what is chosen. Before anything is loaded the engine lays
 * the model out without its weights; where that does not fit the memory that is left by now, the next
 * smaller plan is made. LP_DOES_NOT_FIT when nothing fits.
 * `options`, `progress` and `user_data` are optional. */
LP_API lp_status lp_runtime_load(const lp_runtime *runtime, const lp_plan_options *options,
                                 lp_progress_fn progress, void *user_data, lp_model **out, lp_error **error);

/* The weights leave memory when the last session of the model is freed, too. */
LP_API void lp_model_free(lp_model *model);

/* ---- generating ---- */

/* Opens a session with an empty text and a context of its own. */
LP_API lp_status lp_session_open(const lp_model *model, lp_session **out, lp_error **error);

LP_API void lp_session_free(lp_session *session);

typedef struct lp_generate_options {
    size_t struct_size;
    /* Most tokens of the answer. Default 512. */
    uint32_t max_tokens;
    /* Sample from at most this many of the likeliest tokens; 0: from all. Default 40. */
    uint32_t top_k;
    /* 0: always the likeliest token; the higher, the more varied. Default 0.8. */
    float temperature;
    /* Sample from the likeliest tokens that make up this probability. Default 0.95. */
    float top_p;
    /* Leave out tokens below this share of the likeliest one's probability. Default 0.05. */
    float min_p;
    /* Above 1: make tokens that appeared lately less likely. Default 1. */
    float repeat_penalty;
    /* The same seed gives the same answer; 0, the default: another answer each time. */
    uint64_t seed;
    /* Texts that end the answer and are not part of it. Default none. */
    const char *const *stop_texts;
    size_t n_stop_texts;
} lp_generate_options;

LP_API void lp_generate_options_init(lp_generate_options *options, size_t struct_size);

/* Why an answer ended. */
typedef enum lp_stop_reason {
    LP_STOP_END_OF_TURN = 0, /* the model ended its turn */
    LP_STOP_TEXT = 1,        /* one of the stop texts came */
    LP_STOP_MAX_TOKENS = 2,  /* as many tokens as asked for */
    LP_STOP_CONTEXT = 3,     /* the context is full */
    LP_STOP_CANCELLED = 4    /* the cancel token was raised or the callback asked to stop */
} lp_stop_reason;

typedef enum lp_event_kind {
    LP_EVENT_PROMPT = 0, /* the prompt is computed: prompt_tokens, reused_tokens */
    LP_EVENT_TOKEN = 1,  /* a token was chosen: token_id */
    LP_EVENT_TEXT = 2,   /* text of the answer: text, text_bytes; whole characters */
    LP_EVENT_DONE = 3,   /* the last event: stop_reason, prompt_tokens, reused_tokens,
                            completion_tokens */
    LP_EVENT_PROGRESS = 4, /* a part of the prompt is computed and more is to come: computed_tokens
                              of prompt_tokens, without those that were remembered */
    LP_EVENT_CHANGE = 5,   /* how the model is run changed, what it says does not: text, text_bytes,
                              a JSON object, {"governed":{"threads":{"from":4,"to":3,"because":"heat"}}}
                              or {"paced":{"from":4,"to":2,"because":"too_late"}} */
    LP_EVENT_TUNING = 6    /* a tuning went on: text, text_bytes, a JSON object with "knob",
                              "elapsed_s", "budget_s", "values" and their "tokens_per_s" */
} lp_event_kind;

/* Valid during the callback. Only the fields named at its kind have a meaning; skip kinds that you
 * do not know. */
typedef struct lp_event {
    lp_event_kind kind;
    int32_t token_id;
    const char *text; /* not NUL-terminated */
    size_t text_bytes;
    lp_stop_reason stop_reason;
    uint64_t prompt_tokens;
    uint64_t reused_tokens; /* of the prompt, remembered from the session's last call */
    uint64_t completion_tokens;
    uint64_t computed_tokens;
} lp_event;

/* Receives events. Return 0 to go on, anything else to stop; what it returns for LP_EVENT_DONE does
 * not matter. */
typedef int (*lp_event_fn)(void *user_data, const lp_event *event);

/* Answers `prompt`, which is the whole text: what it has in common with the session's text so far is
 * not computed again. Returns when the answer has ended; an answer that was stopped is no error.
 * `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API lp_status lp_session_generate(lp_session *session, const char *prompt,
                                     const lp_generate_options *options, const lp_cancel *cancel,
                                     lp_event_fn on_event, void *user_data, lp_error **error);

typedef struct lp_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *content;
} lp_message;

/* Answers a conversation through the model's chat template, else as lp_session_generate. `messages`
 * is the whole conversation. */
LP_API lp_status lp_session_chat(lp_session *session, const lp_message *messages, size_t n_messages,
                                 const lp_generate_options *options, const lp_cancel *cancel,
                                 lp_event_fn on_event, void *user_data, lp_error **error);

/* ---- the device ---- */

/* What is new of the device. Negative numbers, and 0 for usable_cpus, mean: nothing new. */
typedef struct lp_signals {
    size_t struct_size;
    /* 0 cool, 1 warm, 2 hot. Android's thermal status: 0 and 1 are cool, 2 and 3 warm, 4 and above
     * hot. Apple's thermal state: nominal and fair are cool, serious is warm, critical is hot. */
    int32_t heat;
    /* 0 enough, 1 low, 2 critical. */
    int32_t memory;
    /* Hardware threads that the process may use. */
    uint32_t usable_cpus;
    /* 0 mains, 1 battery. */
    int32_t power;
    /* 1: the user asked to save energy; 0: no longer. */
    int32_t saver;
    /* 1: the app went to the background; 0: it came back. */
    int32_t background;
} lp_signals;

LP_API void lp_signals_init(lp_signals *signals, size_t struct_size);

/* Tells what an app knows of the device and the library cannot see. Sessions of the model obey from
 * their next step on: fewer threads, shorter parts of prompts, or no new work. Every reaction is told
 * to `on_event` as LP_EVENT_CHANGE before this returns, and to the callbacks of running generations.
 * Call it on every change and, where nothing watches, every few seconds with `signals` NULL, because
 * time relaxes what signals tightened. `signals`, `on_event` and `user_data` are optional. */
LP_API lp_status lp_model_report(const lp_model *model, const lp_signals *signals, lp_event_fn on_event,
                                 void *user_data, lp_error **error);

typedef struct lp_watch lp_watch; /* reads the device's signals */

/* Reads the device's signals every `every_ms` (2000 do) on a thread of its own, where the system tells
 * them, as long as the watch and the model live. `on_event` is optional; unlike other callbacks it runs
 * on that thread, with LP_EVENT_CHANGE alone, and its answer does not matter. */
LP_API lp_status lp_model_watch(const lp_model *model, uint32_t every_ms, lp_event_fn on_event,
                                void *user_data, lp_watch **out, lp_error **error);

/* Ends a watch; its callback does not run afterwards. Not to be called from that callback. */
LP_API void lp_watch_free(lp_watch *watch);

typedef struct lp_tune_options {
    size_t struct_size;
    /* Most seconds for everything. Default 12. */
    double budget_s;
    /* Not 0: leave alone what changes rounding. Default 0. */
    uint32_t bit_exact;
} lp_tune_options;

LP_API void lp_tune_options_init(lp_tune_options *options, size_t struct_size);

/* Races settings of `model`, which came from `runtime`, and uses the best from now on; the tuning
 * folder keeps them. Nothing else should be computed meanwhile. `on_event` hears LP_EVENT_TUNING and
 * may stop it, as `cancel` can; what is sure by then is kept, and being stopped is no error. `*json`
 * becomes the report, to be freed with lp_string_free. `options`, `cancel`, `on_event` and
 * `user_data` are optional. */
LP_API lp_status lp_model_tune(const lp_runtime *runtime, const lp_model *model,
                               const lp_tune_options *options, const lp_cancel *cancel,
                               lp_event_fn on_event, void *user_data, char **json, lp_error **error);

#ifdef __cplusplus
}
#endif

#endif
