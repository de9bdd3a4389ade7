/* llama_pajamas.h: the C interface of Llama Pajamas, a runtime for language models on devices.
 *
 * Made by scripts/c-header of the documentation in ffi/src; edit that.
 *
 *     lp_runtime *runtime = NULL; lp_model *model = NULL; lp_session *session = NULL;
 *     lp_error *error = NULL;
 *     if (lp_runtime_open("story.bundle", NULL, &runtime, &error) ||
 *         lp_runtime_load(runtime, NULL, NULL, NULL, NULL, &model, &error) ||
 *         lp_session_open(model, NULL, &session, &error) ||
 *         lp_session_generate(session, "Once upon a time", NULL, NULL, print, NULL, &error)) {
 *         fprintf(stderr, "%s\n", lp_error_message(error));
 *         lp_error_free(error);
 *     }
 *     lp_session_free(session); lp_model_free(model); lp_runtime_free(runtime);
 *
 * Rules that hold everywhere:
 *
 * - Texts are UTF-8 and end in NUL unless a length stands beside them.
 * - A function that can fail returns a status; LP_OK is 0. Its last parameter, `error`, may be NULL; else it receives an error object
 *   that the caller frees, or NULL on success. There is no hidden error state.
 * - Objects that come through `out` belong to the caller, who frees each with the function named after its type. On failure `*out` is
 *   NULL. Objects may be freed in any order: each keeps what it needs.
 * - Runtimes, models, adapters, sessions, streams, embedders and watches are handles: numbers in the shape of pointers, never
 *   addresses, never used twice. One that was freed, or is of another kind, is refused with LP_INVALID_ARGUMENT, and freeing it again
 *   does nothing. One that is freed while a call uses it lives until that call returns.
 * - An argument that is called optional may be NULL; any other NULL is refused with LP_INVALID_ARGUMENT. Freeing NULL does nothing.
 * - Every function may be called from any thread. A session serves one call at a time and refuses a second with LP_IN_USE; an embedder
 *   lets it wait; a stream is asked by one thread at a time, and cancelled from any.
 * - After an error every object is still valid. A session then holds its text up to the error, and can go on.
 * - Fill an options struct with its init function, then change what you want. The struct's size travels with it, so that programs and
 *   libraries of different versions understand each other: fields that one of them does not know have their defaults.
 * - Callbacks run on the thread of the call that was given them, except where it says otherwise. They may call this library, but not
 *   with the session of that call. They must return: no longjmp, no C++ exception.
 * - Nothing is written to standard output or standard error, no environment variable is read, no signal handler is installed, nothing
 *   is sent anywhere.
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


/* The version of this interface: raised on incompatible change only. */
#define LP_ABI_VERSION 2

/* What came of a call. Numbers never change their meaning; new ones may come. */
typedef enum lp_status {
    /* Done. */
    LP_OK = 0,
    /* An argument is NULL, freed, not UTF-8 or out of range. */
    LP_INVALID_ARGUMENT = 1,
    /* A file or a variant is not there. */
    LP_NOT_FOUND = 2,
    /* A file is there and is not what it should be: damaged or of an unknown kind. */
    LP_INVALID_FILE = 3,
    /* No variant of the model fits this device; the message says what would. */
    LP_DOES_NOT_FIT = 4,
    /* The prompt does not fit the context. */
    LP_CONTEXT_FULL = 5,
    /* The caller cancelled. A cancelled answer is no error: it ends with LP_STOP_CANCELLED. */
    LP_CANCELLED = 6,
    /* The engine failed. */
    LP_ENGINE = 7,
    /* Anything else. */
    LP_INTERNAL = 8,
    /* A defect of the library was caught: free the objects of the call. */
    LP_PANIC = 9,
    /* No new work is taken at the moment: the device is hot or short of memory. Try again later. */
    LP_BUSY = 10,
    /* Another call or a stream uses the object, or another process writes the bundle. */
    LP_IN_USE = 11,
    /* This build of the library cannot do that; the message names the feature that it lacks. */
    LP_UNSUPPORTED = 12,
    /* A download failed for good. */
    LP_NETWORK = 13,
    /* A signature is missing, wrong, or by nobody who is trusted. */
    LP_UNTRUSTED = 14,
    /* Too little room on the disk, or below the cap of a store. */
    LP_DISK_FULL = 15,
} lp_status;

/* What an event tells. New kinds may come: skip those that you do not know. */
typedef enum lp_event_kind {
    /* The prompt is computed: prompt_tokens, reused_tokens. */
    LP_EVENT_PROMPT = 0,
    /* A token was chosen: token_id. Its text comes as LP_EVENT_TEXT, at once or with a later token. */
    LP_EVENT_TOKEN = 1,
    /* Text that is sure to belong to the answer: text, text_bytes. Whole characters, no part of a stop text. */
    LP_EVENT_TEXT = 2,
    /* The answer is over: stop_reason, prompt_tokens, reused_tokens, completion_tokens. The last event of a generation. */
    LP_EVENT_DONE = 3,
    /* A part of the prompt is computed and more is to come: computed_tokens of prompt_tokens, without those that were
     * remembered; fraction. */
    LP_EVENT_PROGRESS = 4,
    /* How the model is run changed, what it says does not: text is a JSON object,
     * {"governed":{"threads":{"from":4,"to":3,"because":"heat"}}} or {"paced":{"from":4,"to":2,"because":"too_late"}}. */
    LP_EVENT_CHANGE = 5,
    /* A tuning went on: text is a JSON object with "knob", "elapsed_s", "budget_s", "values" and their "tokens_per_s"; fraction of
     * the budget. */
    LP_EVENT_TUNING = 6,
    /* A part of a model is loaded: fraction. */
    LP_EVENT_LOADING = 7,
    /* A part of a bundle is checked or fetched: text is a JSON object with "file", "done_bytes", "total_bytes", "eta_s"; fraction. */
    LP_EVENT_TRANSFER = 8,
    /* A variant is being made: text is a JSON object with "stage", "done", "total", "eta_s", "paused"; fraction of the stage. */
    LP_EVENT_REQUANTIZING = 9,
    /* How likely the next token was, where top_logprobs asked for it: text is a JSON object with "chosen" and "top", of which
     * each has "token" and "logprob". */
    LP_EVENT_LOGPROBS = 10,
    /* The context was full and tokens were dropped, or it is longer now: text is a JSON object, {"dropped":{"before":…,"after":…}}
     * or {"grown":{…}}. */
    LP_EVENT_CONTEXT = 11,
    /* lp_stream_next: nothing has come within the time. */
    LP_EVENT_NONE = 12,
    /* A part of a bundle is being made: text is a JSON object with "label", "done_bytes", "total_bytes", "eta_s"; fraction of that
     * part. */
    LP_EVENT_QUANTIZING = 13,
} lp_event_kind;

/* Why an answer ended. */
typedef enum lp_stop_reason {
    /* The model ended its turn, or the text is all that a schema or grammar allows. */
    LP_STOP_END_OF_TURN = 0,
    /* One of the stop texts came. */
    LP_STOP_TEXT = 1,
    /* As many tokens as asked for. */
    LP_STOP_MAX_TOKENS = 2,
    /* The context is full. */
    LP_STOP_CONTEXT = 3,
    /* The cancel token was raised, the callback asked to stop, or the stream was cancelled. */
    LP_STOP_CANCELLED = 4,
} lp_stop_reason;

/* What becomes of an answer, and of a prompt, for which the context has no room. */
typedef enum lp_when_full {
    /* The answer ends with LP_STOP_CONTEXT, a prompt is refused with LP_CONTEXT_FULL. */
    LP_WHEN_FULL_REFUSE = 0,
    /* The first keep_tokens stay, and the newer half of the rest. */
    LP_WHEN_FULL_SHIFT = 1,
    /* The context becomes longer, up to most_context_tokens, as long as there is memory; then as LP_WHEN_FULL_SHIFT. */
    LP_WHEN_FULL_GROW = 2,
} lp_when_full;

/* How the vectors of a text's tokens become one. */
typedef enum lp_pooling {
    /* As the model's file says, the mean where it says nothing. */
    LP_POOLING_MODEL = 0,
    /* Their mean. */
    LP_POOLING_MEAN = 1,
    /* The first token's. */
    LP_POOLING_FIRST = 2,
    /* The last token's. */
    LP_POOLING_LAST = 3,
} lp_pooling;

/* How much is logged: this level and those before it. */
typedef enum lp_log_level {
    /* Nothing. */
    LP_LOG_OFF = 0,
    /* What failed. */
    LP_LOG_ERROR = 1,
    /* What went on all the same. */
    LP_LOG_WARN = 2,
    /* Changes of how models are run. */
    LP_LOG_INFO = 3,
    /* What the engine tells of models. */
    LP_LOG_DEBUG = 4,
    /* Everything. */
    LP_LOG_TRACE = 5,
} lp_log_level;

/* An adapter in memory: low-rank factors (LoRA) or a control vector, beside the weights of one model. */
typedef struct lp_adapter lp_adapter;

/* A flag that stops calls. Any thread may use it. */
typedef struct lp_cancel lp_cancel;

/* Turns texts into vectors, with a context of its own. Threads that share one wait for each other. */
typedef struct lp_embedder lp_embedder;

/* Why a call failed. Belongs to the caller, who frees it with lp_error_free. */
typedef struct lp_error lp_error;

/* Loaded weights with their tokenizer. Any number of threads may use it. */
typedef struct lp_model lp_model;

/* An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it. */
typedef struct lp_runtime lp_runtime;

/* One text in progress, with a context of its own. One call at a time: a second one gets LP_IN_USE. */
typedef struct lp_session lp_session;

/* An answer under way on a thread of the library, which computes a few tokens ahead and then waits to be asked. */
typedef struct lp_stream lp_stream;

/* Reads the device's signals for one model. */
typedef struct lp_watch lp_watch;

/* One step of a long call. Only the fields that its kind names have a meaning. */
typedef struct lp_event {
    /* What it tells. */
    enum lp_event_kind kind;
    /* The id of a token in the model's vocabulary. */
    int32_t token_id;
    /* UTF-8, not NUL-terminated. */
    const char *text;
    /* Length of `text` in bytes. */
    size_t text_bytes;
    /* Why the answer ended. */
    enum lp_stop_reason stop_reason;
    /* Always 0. */
    uint32_t reserved;
    /* Tokens of the prompt. */
    uint64_t prompt_tokens;
    /* Of these, remembered from the session's last call. */
    uint64_t reused_tokens;
    /* Tokens of the answer. */
    uint64_t completion_tokens;
    /* Tokens of the prompt that are computed so far. */
    uint64_t computed_tokens;
    /* How far the call is, 0 to 1. */
    double fraction;
} lp_event;

/* Receives events during a call, on the thread of that call; the event is valid until the callback returns. Return 0 to go on,
 * anything else to stop the call; what is returned for LP_EVENT_DONE does not matter. It must return: no longjmp, no C++ exception. */
typedef int (*lp_event_fn)(void *user_data, const struct lp_event *event);

/* How to pull. */
typedef struct lp_pull_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* Ids of the wanted variants; those that they need come along. Default none: all that are GGUF files. */
    const char *const *variants;
    /* How many. */
    size_t n_variants;
    /* Folder of public keys, one of which must have signed the manifest; NULL, the default: any manifest is taken. */
    const char *trust_folder;
    /* The header `Authorization` for the manifest's host alone; NULL, the default: none. */
    const char *authorization;
    /* Address of an HTTP proxy; NULL, the default: none. The environment is not read. */
    const char *proxy;
    /* Most bytes that the bundles beside the destination and it may take; those used least recently are evicted. 0, the default: no
     * cap. */
    uint64_t cap_bytes;
} lp_pull_options;

/* How to open an embedder. */
typedef struct lp_embed_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* One of lp_pooling. Default LP_POOLING_MODEL. */
    uint32_t pooling;
    /* Most tokens of a text; 0, the default: as many as planned and as the model was trained for. */
    uint32_t max_tokens;
    /* Not 0: leave vectors as long as they are, instead of making their length one. Default 0. */
    uint32_t keep_length;
    /* Not 0: read the beginning of texts that are too long, instead of refusing them. Default 0. */
    uint32_t truncate;
} lp_embed_options;

/* An adapter and how strongly it works. */
typedef struct lp_adapter_use {
    /* The adapter, of the session's model. */
    const struct lp_adapter *adapter;
    /* 1 as it was trained, 0 not at all, below 0 against it. Finite. */
    float scale;
    /* Always 0. */
    uint32_t reserved;
} lp_adapter_use;

/* How to generate. */
typedef struct lp_generate_options {
    /* Size of the struct in bytes. */
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
    /* How many. */
    size_t n_stop_texts;
    /* Taken from a token's score for every time that it appeared lately. Default 0. */
    float frequency_penalty;
    /* Taken once from the score of tokens that appeared lately. Default 0. */
    float presence_penalty;
    /* The answer is JSON that this JSON schema accepts; NULL, the default: any text. At most one of json_schema, regex and grammar.
     * Needs a library with the feature `constrain`, else LP_UNSUPPORTED. */
    const char *json_schema;
    /* The answer is text that this regular expression matches from beginning to end. */
    const char *regex;
    /* The answer is text of this grammar, in llguidance's variant of Lark. */
    const char *grammar;
    /* Adapters that the answer is computed with, and no others. Default none. */
    const struct lp_adapter_use *adapters;
    /* How many. */
    size_t n_adapters;
    /* Not 0: go on when the model ends its turn. Default 0. */
    uint32_t ignore_end_of_turn;
    /* Tell of every token how likely it was, and of so many others at its place, at most 64 (LP_EVENT_LOGPROBS); below 0, the
     * default: tell nothing. */
    int32_t top_logprobs;
} lp_generate_options;

/* What a plan is to satisfy. */
typedef struct lp_plan_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* How many tokens of text a session shall hold; 0, the default: what fits, at most 4096. */
    uint64_t context_tokens;
    /* Memory that may be used instead of what the device has to spare, in bytes; 0, the default: what it has. */
    uint64_t memory_budget_bytes;
    /* Only this variant, by id; NULL, the default: any. */
    const char *variant;
    /* Threads that write; 0, the default: what suits the device. */
    uint32_t n_threads;
    /* Most memory that may be used, in bytes, whatever the device has: for apps that need the rest themselves; 0, the default: no
     * cap. */
    uint64_t memory_cap_bytes;
    /* The same for the memory of a graphics device, on which the app draws; 0, the default: no cap. */
    uint64_t device_memory_cap_bytes;
} lp_plan_options;

/* What to make of a model. */
typedef struct lp_quantize_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* "gguf" or "mlx"; NULL, the default: "gguf". A further call adds variants of another format to the same bundle. */
    const char *format;
    /* What to make, a variant each. In GGUF: types of llama.cpp's, e.g. "Q4_K_M", or "high", "balanced", "extreme", which choose by
     * role. In MLX: "4bit", "3bit-g32", "4bit-mixed", "mxfp4", … or the same three. Default none, which is "balanced" where
     * `target_bytes` and `plans` are none either. */
    const char *const *precisions;
    /* How many. */
    size_t n_precisions;
    /* Sizes of files in bytes to fit as well as possible, a variant each, by what was measured of the model: needs `sensitivity`. */
    const uint64_t *target_bytes;
    /* How many. */
    size_t n_target_bytes;
    /* Files of plans to carry out, a variant each, as the command's `quantize --write-plan` writes them. GGUF alone. */
    const char *const *plans;
    /* How many. */
    size_t n_plans;
    /* Low-rank adapters to merge into a checkpoint first, in order: folders as `peft` writes them. */
    const char *const *adapters;
    /* How many. */
    size_t n_adapters;
    /* File that the command's `sensitivity` wrote of this model. NULL, the default: none. */
    const char *sensitivity;
    /* File that its `moments` wrote: blocks are then rounded with error feedback. NULL, the default: none. */
    const char *moments;
    /* File of an importance matrix. NULL, the default: none. */
    const char *imatrix;
    /* The model's id in the manifest. NULL, the default: the name of its folder or file. */
    const char *model_id;
    /* Memory that the work may take, in bytes; 0, the default: what the device has to spare. */
    uint64_t memory_budget_bytes;
    /* Threads; 0, the default: all cores. */
    uint32_t n_threads;
    /* Not 0: take a GGUF file that is quantized already. Default 0: such a file is refused, since its errors stay. */
    uint32_t allow_requantize;
    /* Not 0: tell types, sizes and memory, and write nothing. Default 0. */
    uint32_t dry_run;
    /* Always 0. */
    uint32_t reserved;
} lp_quantize_options;

/* How to make a variant. */
typedef struct lp_requantize_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* What to make: a type of llama.cpp's, e.g. "Q4_K_M", or "high", "balanced" or "extreme". Default "Q4_K_M". */
    const char *precision;
    /* The text on which the new variant is held against the one it is made of: some pages of what the app is about. Must be given. */
    const char *text;
    /* Id of the variant to make it of: F32, BF16, F16 or Q8_0. NULL, the default: the finest of these that is here. */
    const char *parent;
    /* Id of a variant that goes when the new one has passed. NULL, the default: none. */
    const char *replaces;
    /* File of an importance matrix. NULL, the default: none. */
    const char *imatrix;
    /* Greatest mean divergence from the parent, in nats, with which the new variant is published. Default 0.1. */
    double max_kld;
    /* Tokens that are compared at a time. Default 512. */
    uint32_t n_ctx;
    /* Most such windows. Default 16. */
    uint32_t max_windows;
    /* Threads. Default 1. */
    uint32_t n_threads;
    /* Not 0, the default: wait while the device runs on its battery. */
    uint32_t wait_for_mains;
    /* Memory that may be used, in bytes; 0, the default: what is needed. */
    uint64_t memory_budget_bytes;
    /* Seconds after which the work stops until the next call, pauses included; 0, the default: as long as it takes. */
    double time_budget_s;
} lp_requantize_options;

/* How to open. */
typedef struct lp_runtime_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* The CPU variant to use, e.g. "x64"; NULL, the default: the best of this processor. A process has one variant: the first that
     * is used stays, another is refused with LP_ENGINE. */
    const char *cpu_variant;
    /* Folder in which what is measured on this device is kept between starts: tuned settings, speeds, memory; made when needed.
     * NULL, the default: nothing is kept. */
    const char *tuning_folder;
} lp_runtime_options;

/* How to open a session. */
typedef struct lp_session_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* Tokens that the context holds; 0, the default: as planned. */
    uint32_t context_tokens;
    /* Not 0: guess tokens by what stood there before and compute them together, as long as that is faster. The same tokens are
     * chosen. Default 0. */
    uint32_t speculate;
    /* One of lp_when_full. Default LP_WHEN_FULL_REFUSE. */
    uint32_t when_full;
    /* Longest context to grow to, in tokens. Default 0. */
    uint32_t most_context_tokens;
    /* Tokens at the beginning that stay when others are dropped. Default 0. */
    uint64_t keep_tokens;
    /* No step of a prompt computes for longer than this, in microseconds: a game's budget in a frame. LP_EVENT_PROGRESS comes
     * between the steps, and a callback that waits holds the answer up. 0, the default: no limit. */
    uint64_t max_step_us;
} lp_session_options;

/* A message of a conversation. */
typedef struct lp_message {
    /* "system", "user" or "assistant". */
    const char *role;
    /* Its text. */
    const char *content;
} lp_message;

/* What is new of the device. Negative numbers, and 0 for usable_cpus, mean: nothing new; so everything begins. */
typedef struct lp_signals {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* 0 cool, 1 warm, 2 hot. Android's thermal status: 0 and 1 are cool, 2 and 3 warm, 4 and above hot. Apple's thermal state:
     * nominal and fair are cool, serious is warm, critical is hot. */
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

/* Receives a log line: `level` is one of lp_log_level, `target` says which part of the library speaks; both texts end in NUL and are
 * valid during the call. Runs on any thread, several at a time, and must not call this library. */
typedef void (*lp_log_fn)(void *user_data, uint32_t level, const char *target, const char *message);

/* Receives figures of what was done, as a JSON object with "kind" ("load" or "generate") and, for instance, "completion_tokens" and
 * "decode_s"; the text ends in NUL and is valid during the call. Runs on the thread that did it, several at a time, and must not call
 * this library. */
typedef void (*lp_metrics_fn)(void *user_data, const char *json);

/* How to tune. */
typedef struct lp_tune_options {
    /* Size of the struct in bytes. */
    size_t struct_size;
    /* Most seconds for everything, at most 3600. Default 12. */
    double budget_s;
    /* Not 0: leave alone what changes rounding. Default 0. */
    uint32_t bit_exact;
    /* Always 0. */
    uint32_t reserved;
} lp_tune_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* The version of the interface that the library has, LP_ABI_VERSION of its header. Not the same as that of the header that a program
 * was compiled with: the two do not fit together. */
LP_API
uint32_t lp_abi_version(void);

/* The version of the library, e.g. "0.1.0". Never freed. */
LP_API const char *lp_version(void);

/* Reads every file of the bundle at `path` that is on this disk and compares its size and SHA-256 with the manifest. The first damage
 * is the call's error: LP_NOT_FOUND or LP_INVALID_FILE. Where `trust_folder` is given, a folder of public keys, the manifest has to be
 * signed by one of them, else LP_UNTRUSTED; that needs a library with the feature `download`, else LP_UNSUPPORTED. `*json` becomes a JSON object with "files" and "bytes" (checked), "absent" (ids of variants
 * that are not here) and "signature" (what was found, in words, or null where no folder was given). Free it with lp_string_free. Tells LP_EVENT_TRANSFER.
 * `trust_folder`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_bundle_verify(const char *path,
                                const char *trust_folder,
                                const struct lp_cancel *cancel,
                                lp_event_fn on_event,
                                void *user_data,
                                char **json,
                                struct lp_error **error);

/* Fills `options` with defaults. */
LP_API void lp_pull_options_init(struct lp_pull_options *options, size_t struct_size);

/* Fetches variants of the bundle whose manifest is at `manifest_url` into the folder `destination`, which is made or updated. Until
 * every hash is right the folder stays what it was, and a call that was broken off is gone on with by the next. `*json` becomes a JSON
 * object with "variants", "fetched_bytes", "signature" and "evicted". Free it with lp_string_free. Tells LP_EVENT_TRANSFER. Needs a
 * library with the feature `download`, else LP_UNSUPPORTED. `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_bundle_pull(const char *manifest_url,
                              const char *destination,
                              const struct lp_pull_options *options,
                              const struct lp_cancel *cancel,
                              lp_event_fn on_event,
                              void *user_data,
                              char **json,
                              struct lp_error **error);

/* A lowered flag. Never NULL. Free it with lp_cancel_free. */
LP_API struct lp_cancel *lp_cancel_new(void);

/* Raises the flag: every call that was given it ends, a generation within the work of one layer and with LP_STOP_CANCELLED, other
 * calls with LP_CANCELLED. It stays raised until lowered. Allowed from any thread, in callbacks and in signal handlers. NULL is
 * ignored. */
LP_API
void lp_cancel_raise(const struct lp_cancel *cancel);

/* Lowers the flag, so that the token can serve the next call. NULL is ignored. */
LP_API void lp_cancel_lower(const struct lp_cancel *cancel);

/* Frees a token, also while calls use it: they keep what they need. NULL is ignored. Tokens are memory of their own: freeing one
 * twice, or raising a freed one, is a defect of the caller. */
LP_API
void lp_cancel_free(struct lp_cancel *cancel);

/* Fills `options` with defaults. */
LP_API void lp_embed_options_init(struct lp_embed_options *options, size_t struct_size);

/* Opens an embedder. Needs a library with the feature `embeddings`, else LP_UNSUPPORTED. `options` is optional. */
LP_API
enum lp_status lp_embedder_open(const struct lp_model *model,
                                const struct lp_embed_options *options,
                                struct lp_embedder **out,
                                struct lp_error **error);

/* The vector of `text`: `*n_values` becomes its length, and the first `capacity` values are written to `values`, which may be NULL
 * with `capacity` 0. `cancel` is optional; a raised one ends the call with LP_CANCELLED. */
LP_API
enum lp_status lp_embedder_embed(struct lp_embedder *embedder,
                                 const char *text,
                                 const struct lp_cancel *cancel,
                                 float *values,
                                 size_t capacity,
                                 size_t *n_values,
                                 struct lp_error **error);

/* Frees an embedder. NULL and freed ones are ignored. */
LP_API void lp_embedder_free(struct lp_embedder *embedder);

/* The status that the failed call returned; LP_OK for NULL. */
LP_API enum lp_status lp_error_status(const struct lp_error *error);

/* What went wrong, one line of UTF-8 for developers, in English. Valid until the object is freed; the empty text for NULL. */
LP_API
const char *lp_error_message(const struct lp_error *error);

/* The same for programs: a JSON object that always has "code", the status' name in small letters ("does_not_fit"), and, where
 * they apply, "path", "what", "expected", "got", "need_bytes", "have_bytes", "variant", "nearest". Further fields may come. Valid
 * until the object is freed; "{}" for NULL. */
LP_API
const char *lp_error_details(const struct lp_error *error);

/* Frees an error object. NULL is ignored. Error objects are memory of their own: freeing one twice is a defect of the caller. */
LP_API
void lp_error_free(struct lp_error *error);

/* Fills `options` with defaults. */
LP_API void lp_generate_options_init(struct lp_generate_options *options, size_t struct_size);

/* Describes this device and this library: `*json` becomes a JSON object with "library" (version), "features" (what this build has
 * beyond the rest), "cpu_variants" (the kernels in it, which run here, and the best) and "host" (processor, memory and what a model
 * may use of it, devices, heat, power, the profile that it matches, and "unknown": what could not be read and why). Free it with
 * lp_string_free. */
LP_API
enum lp_status lp_host_report(char **json,
                              struct lp_error **error);

/* Frees a text that this library handed out through a parameter. NULL is ignored. Texts are memory of their own: freeing one twice is
 * a defect of the caller. */
LP_API
void lp_string_free(char *text);

/* Frees bytes that this library handed out, with the length that came with them. NULL is ignored. */
LP_API void lp_bytes_free(uint8_t *bytes, size_t n_bytes);

/* Objects that were opened and not freed yet, in the whole process: runtimes, models, adapters, sessions, streams, embedders and
 * watches. For tests: what an app forgot to free, a leak checker does not see, because the library knows of it. */
LP_API
size_t lp_live_objects(void);

/* Plans as lp_runtime_plan does and loads what is chosen. Before anything is loaded the engine lays the model out without its
 * weights; where that does not fit the memory that is left by now, the next smaller plan is made. LP_DOES_NOT_FIT when nothing
 * fits. Tells LP_EVENT_LOADING. `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_runtime_load(const struct lp_runtime *runtime,
                               const struct lp_plan_options *options,
                               const struct lp_cancel *cancel,
                               lp_event_fn on_event,
                               void *user_data,
                               struct lp_model **out,
                               struct lp_error **error);

/* Describes a loaded model: `*json` becomes a JSON object with "choice" (what was loaded and how, as in a plan), "memory" (bytes of
 * the weights), "engine", "digest", "n_vocab", "is_decoder" and "stance" (what the governor allows at the moment). Free it with
 * lp_string_free. */
LP_API
enum lp_status lp_model_describe(const struct lp_model *model,
                                 char **json,
                                 struct lp_error **error);

/* Tokens of `text`: `*n_tokens` becomes their count, and the first `capacity` of them are written to `tokens`. Call it with
 * `capacity` 0, `tokens` may then be NULL, to learn the count. `add_special`: not 0 adds what the model wants around a text, as
 * lp_session_generate does. */
LP_API
enum lp_status lp_model_tokenize(const struct lp_model *model,
                                 const char *text,
                                 uint32_t add_special,
                                 int32_t *tokens,
                                 size_t capacity,
                                 size_t *n_tokens,
                                 struct lp_error **error);

/* Text of `tokens`, without control tokens and those that are not in the vocabulary; what is no UTF-8 is replaced. Free it with
 * lp_string_free. */
LP_API
enum lp_status lp_model_detokenize(const struct lp_model *model,
                                   const int32_t *tokens,
                                   size_t n_tokens,
                                   char **out,
                                   struct lp_error **error);

/* Frees a model; its weights leave memory with the last session, embedder, adapter or watch of it. NULL and freed ones are ignored. */
LP_API
void lp_model_free(struct lp_model *model);

/* Loads an adapter of `model` from a GGUF file. Answers that name it in their options are computed with it, each for itself.
 * Needs a library with the feature `adapters`, else LP_UNSUPPORTED. */
LP_API
enum lp_status lp_adapter_load(const struct lp_model *model,
                               const char *path,
                               struct lp_adapter **out,
                               struct lp_error **error);

/* Frees an adapter; sessions whose last answer had it keep it until their next. NULL and freed ones are ignored. */
LP_API void lp_adapter_free(struct lp_adapter *adapter);

/* Fills `options` with defaults. */
LP_API void lp_quantize_options_init(struct lp_quantize_options *options, size_t struct_size);

/* Makes variants of the model at `model`, a checkpoint's folder (config.json and safetensors) or a GGUF file, and publishes them
 * together in the bundle at `output`, which is made or added to. For a thread of the app's own: it takes as long as it takes. A call
 * that fails or is stopped leaves the bundle as it was. `*json` becomes a JSON object with "variants" (each with "id", "file_bytes", "work_bytes", "bits_per_weight", "types", and "plan" where one
 * was made), "projectors" and "warnings". Free it with lp_string_free. Tells LP_EVENT_QUANTIZING. Needs a library with the feature
 * `quantize`, else LP_UNSUPPORTED. `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_quantize(const char *model,
                           const char *output,
                           const struct lp_quantize_options *options,
                           const struct lp_cancel *cancel,
                           lp_event_fn on_event,
                           void *user_data,
                           char **json,
                           struct lp_error **error);

/* Fills `options` with defaults. */
LP_API void lp_requantize_options_init(struct lp_requantize_options *options, size_t struct_size);

/* Makes a further variant of the opened bundle out of one of its own, at low priority, waiting while the device is hot or short of
 * memory, and publishes it when it is close enough to its parent. For a thread of the app's own: it takes as long as it takes. A call
 * that was stopped is gone on with by the next one with the same options. `*json` becomes a JSON object, {"published":{…}},
 * {"not_good_enough":{…}} or {"out_of_time":{…}}. Free it with lp_string_free. The new variant is there for who opens the bundle anew.
 * Tells LP_EVENT_REQUANTIZING. Needs a library with the feature `quantize`, else LP_UNSUPPORTED. `cancel`, `on_event` and `user_data`
 * are optional. */
LP_API
enum lp_status lp_runtime_requantize(const struct lp_runtime *runtime,
                                     const struct lp_requantize_options *options,
                                     const struct lp_cancel *cancel,
                                     lp_event_fn on_event,
                                     void *user_data,
                                     char **json,
                                     struct lp_error **error);

/* Fills `options` with defaults. */
LP_API void lp_runtime_options_init(struct lp_runtime_options *options, size_t struct_size);

/* Opens the bundle directory or GGUF file at `path`: reads its description, no weights. `options` is optional. */
LP_API
enum lp_status lp_runtime_open(const char *path,
                               const struct lp_runtime_options *options,
                               struct lp_runtime **out,
                               struct lp_error **error);

/* Describes what was opened: `*json` becomes a JSON object with "engine" (what computes), "bundle" (the manifest, or null for a
 * single file) and "variants", each with "id", "precision", "weights_bytes", "present", "blocked" and "description" (family, layers,
 * context). Free it with lp_string_free. */
LP_API
enum lp_status lp_runtime_describe(const struct lp_runtime *runtime,
                                   char **json,
                                   struct lp_error **error);

/* Fills `options` with defaults. */
LP_API void lp_plan_options_init(struct lp_plan_options *options, size_t struct_size);

/* Chooses a variant and settings for this device and explains the choice. Reads no weights. `*json` becomes a JSON object with
 * "chosen" (null when nothing fits, which is no error; else "id", "context_tokens", "n_threads", "memory", "speed", "quality", …),
 * "why", "rejected", "assumptions", each with a stable "code", and "evidence". Free it with lp_string_free. `options` is optional. */
LP_API
enum lp_status lp_runtime_plan(const struct lp_runtime *runtime,
                               const struct lp_plan_options *options,
                               char **json,
                               struct lp_error **error);

/* Frees a runtime. NULL and freed ones are ignored. */
LP_API void lp_runtime_free(struct lp_runtime *runtime);

/* Fills `options` with defaults. */
LP_API void lp_session_options_init(struct lp_session_options *options, size_t struct_size);

/* Opens a session with an empty text and a context of its own. `options` is optional. */
LP_API
enum lp_status lp_session_open(const struct lp_model *model,
                               const struct lp_session_options *options,
                               struct lp_session **out,
                               struct lp_error **error);

/* Answers `prompt`, which is the whole text: what it has in common with the session's text so far is not computed again. Returns
 * when the answer has ended; an answer that was stopped is no error. Tells LP_EVENT_PROMPT, PROGRESS, TOKEN, TEXT, CHANGE, LOGPROBS,
 * CONTEXT and, last, DONE. `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_session_generate(struct lp_session *session,
                                   const char *prompt,
                                   const struct lp_generate_options *options,
                                   const struct lp_cancel *cancel,
                                   lp_event_fn on_event,
                                   void *user_data,
                                   struct lp_error **error);

/* Answers a conversation through the model's chat template, else as lp_session_generate. `messages` is the whole conversation. */
LP_API
enum lp_status lp_session_chat(struct lp_session *session,
                               const struct lp_message *messages,
                               size_t n_messages,
                               const struct lp_generate_options *options,
                               const struct lp_cancel *cancel,
                               lp_event_fn on_event,
                               void *user_data,
                               struct lp_error **error);

/* What the session holds, as bytes: lp_session_restore goes on from there in any process with the same build of the library and
 * the same model. Not of a session whose last answer had adapters. Free the bytes
 * with lp_bytes_free. Needs a library with the feature `states`, else LP_UNSUPPORTED. */
LP_API
enum lp_status lp_session_save(const struct lp_session *session,
                               uint8_t **out,
                               size_t *n_bytes,
                               struct lp_error **error);

/* Makes the session hold what lp_session_save wrote: a prompt that begins with the same tokens costs only its rest. Bytes of another
 * build or model, and damaged ones, are refused with LP_INVALID_ARGUMENT. */
LP_API
enum lp_status lp_session_restore(struct lp_session *session,
                                  const uint8_t *bytes,
                                  size_t n_bytes,
                                  struct lp_error **error);

/* Opens another session that holds the same and goes on by itself. */
LP_API
enum lp_status lp_session_fork(const struct lp_session *session,
                               struct lp_session **out,
                               struct lp_error **error);

/* Frees a session; a call or stream that uses it keeps it until it ends. NULL and freed ones are ignored. */
LP_API void lp_session_free(struct lp_session *session);

/* Fills `signals` with "nothing new". */
LP_API void lp_signals_init(struct lp_signals *signals, size_t struct_size);

/* Tells what an app knows of the device and the library cannot see. Sessions of the model obey from their next step on: fewer
 * threads, shorter parts of prompts, or no new work (LP_BUSY). Every reaction is told to `on_event` as LP_EVENT_CHANGE before this
 * returns, and to the callbacks of running generations. Call it on every change and, where nothing watches, every few seconds with
 * `signals` NULL, because time relaxes what signals tightened. `signals`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_model_report(const struct lp_model *model,
                               const struct lp_signals *signals,
                               lp_event_fn on_event,
                               void *user_data,
                               struct lp_error **error);

/* Reads the device's signals every `every_ms` milliseconds (2000 do) on a thread of its own, where the system tells them, as long as
 * the watch and the model live. `on_event` is optional; unlike other callbacks it runs on that thread, with LP_EVENT_CHANGE alone,
 * and what it returns does not matter. */
LP_API
enum lp_status lp_model_watch(const struct lp_model *model,
                              uint32_t every_ms,
                              lp_event_fn on_event,
                              void *user_data,
                              struct lp_watch **out,
                              struct lp_error **error);

/* Ends a watch and waits until its callback has run for the last time. Not to be called from that callback. NULL and freed ones are
 * ignored. */
LP_API
void lp_watch_free(struct lp_watch *watch);

/* Sends log lines up to `level`, one of lp_log_level, to `on_log`; NULL or LP_LOG_OFF, the state at the beginning: to nobody. Process
 * wide: the last call counts, and when it returns, earlier callbacks run no more. `user_data` has to live until then. */
LP_API
enum lp_status lp_set_log(uint32_t level,
                          lp_log_fn on_log,
                          void *user_data,
                          struct lp_error **error);

/* Sends figures of every load and answer to `on_metrics`; NULL, the state at the beginning: to nobody. Process wide, as lp_set_log. */
LP_API
enum lp_status lp_set_metrics(lp_metrics_fn on_metrics,
                              void *user_data,
                              struct lp_error **error);

/* Begins to answer `prompt` as lp_session_generate does, and returns at once. The session belongs to the stream until that is freed:
 * other calls get LP_IN_USE. `options` is optional. */
LP_API
enum lp_status lp_stream_generate(struct lp_session *session,
                                  const char *prompt,
                                  const struct lp_generate_options *options,
                                  struct lp_stream **out,
                                  struct lp_error **error);

/* The same for a conversation, as lp_session_chat answers it. */
LP_API
enum lp_status lp_stream_chat(struct lp_session *session,
                              const struct lp_message *messages,
                              size_t n_messages,
                              const struct lp_generate_options *options,
                              struct lp_stream **out,
                              struct lp_error **error);

/* Fetches the next event: `*event` points to it, and it and its text are valid until the next call with this stream or its freeing.
 * Waits for it at most `timeout_ms` milliseconds, 0 looks without waiting, below 0 waits as long as it takes; LP_EVENT_NONE when
 * nothing has come. LP_EVENT_DONE is the last event, and comes again when asked again. What lp_session_generate would return as its
 * status is returned here, `*event` is then NULL. One thread at a time. */
LP_API
enum lp_status lp_stream_next(struct lp_stream *stream,
                              int64_t timeout_ms,
                              const struct lp_event **event,
                              struct lp_error **error);

/* Ends the answer within the work of one layer, as a cancel token would; what it has told so far can still be fetched, LP_EVENT_DONE
 * at last. Allowed from any thread, also while another one waits in lp_stream_next. NULL and freed ones are ignored. */
LP_API
void lp_stream_cancel(const struct lp_stream *stream);

/* Frees a stream and gives the session back. An answer that is not over is cancelled and waited for. NULL and freed ones are ignored. */
LP_API
void lp_stream_free(struct lp_stream *stream);

/* Fills `options` with defaults. */
LP_API void lp_tune_options_init(struct lp_tune_options *options, size_t struct_size);

/* Races settings of a model on this device for at most the budget, and uses the best from now on: sessions obey from their next
 * answer on, later starts find it in the runtime's tuning folder, if it has one. The model is one that `runtime` loaded. Tells
 * LP_EVENT_TUNING. Let nothing else compute meanwhile. Being stopped, by the cancel token, the callback, heat or want of memory, is
 * no error: "halted" tells. `*json` becomes a JSON object with "start", "setting", "halted" and "knobs". Free it with
 * lp_string_free. `options`, `cancel`, `on_event` and `user_data` are optional. */
LP_API
enum lp_status lp_model_tune(const struct lp_runtime *runtime,
                             const struct lp_model *model,
                             const struct lp_tune_options *options,
                             const struct lp_cancel *cancel,
                             lp_event_fn on_event,
                             void *user_data,
                             char **json,
                             struct lp_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LLAMA_PAJAMAS_H */
