/* llama_pajamas.hpp: Llama Pajamas for C++17 and newer, over llama_pajamas.h, without a library of its own.
 *
 *     namespace lp = llama_pajamas;
 *     lp::Runtime runtime = lp::Runtime::open("story.bundle").value();
 *     lp::Model model = runtime.load().value();
 *     lp::Session session = model.session().value();
 *     lp::Stream stream = session.stream("Once upon a time").value();
 *     for (std::string_view text : stream.texts()) std::cout << text << std::flush;
 *     lp::Usage usage = stream.finish().value();
 *
 * - Objects own what they stand for: moved, not copied, freed by their destructors in any order, and by close(), which may be called
 *   twice. An object that was closed or moved from answers LP_INVALID_ARGUMENT.
 * - What can fail returns Result<T>: test it as a bool, then take value() or error(). value() of a failure throws Exception where the
 *   program is compiled with exceptions, and ends the program where it is not. Nothing else throws, but for std::bad_alloc.
 * - Callbacks are any callable with `const Event &`; one that returns bool goes on while it returns true. One that throws stops the
 *   call, which throws the same after it has cleaned up.
 * - Threads: as in the C header. A CancelToken is raised from anywhere; `auto link = cancel.follow(stop_token)` ties it to a
 *   std::jthread.
 */
#ifndef LLAMA_PAJAMAS_HPP
#define LLAMA_PAJAMAS_HPP

#include "llama_pajamas.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define LLAMA_PAJAMAS_EXCEPTIONS 1
#include <exception>
#include <stdexcept>
#else
#define LLAMA_PAJAMAS_EXCEPTIONS 0
#endif

#if defined(__has_include)
#if __has_include(<stop_token>) && __cplusplus >= 202002L
#include <stop_token>
#endif
#endif

namespace llama_pajamas {

/* ---- errors ---- */

/* Why a call failed: a status, a line for developers, and the same as a JSON object (lp_error_details). */
class Error {
  public:
    Error(lp_status status, std::string message, std::string details)
        : status_(status), message_(std::move(message)), details_(std::move(details)) {}

    lp_status status() const noexcept { return status_; }
    const std::string &message() const noexcept { return message_; }
    const std::string &details() const noexcept { return details_; }

  private:
    lp_status status_;
    std::string message_, details_;
};

#if LLAMA_PAJAMAS_EXCEPTIONS
/* What Result::value() throws. */
class Exception : public std::runtime_error {
  public:
    explicit Exception(Error error) : std::runtime_error(error.message()), error_(std::move(error)) {}
    const Error &error() const noexcept { return error_; }

  private:
    Error error_;
};
#endif

namespace detail {

[[noreturn]] inline void refuse(const Error &error) {
#if LLAMA_PAJAMAS_EXCEPTIONS
    throw Exception(error);
#else
    std::fprintf(stderr, "llama_pajamas: value() of a failure: %s\n", error.message().c_str());
    std::abort();
#endif
}

} // namespace detail

/* A value, or why there is none. */
template <class T> class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }

    T &value() & { return check(), *std::get_if<0>(&state_); }
    const T &value() const & { return check(), *std::get_if<0>(&state_); }
    T value() && { return check(), std::move(*std::get_if<0>(&state_)); }
    T &operator*() & { return value(); }
    T *operator->() { return &value(); }

    /* Of a failure alone. */
    const Error &error() const { return *std::get_if<1>(&state_); }
    lp_status status() const noexcept { return ok() ? LP_OK : std::get_if<1>(&state_)->status(); }

  private:
    void check() const {
        if (!ok()) detail::refuse(error());
    }
    std::variant<T, Error> state_;
};

/* Success, or why not. */
template <> class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

    bool ok() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return ok(); }
    void value() const {
        if (error_) detail::refuse(*error_);
    }
    const Error &error() const { return *error_; }
    lp_status status() const noexcept { return error_ ? error_->status() : LP_OK; }

  private:
    std::unique_ptr<Error> error_;
};

/* ---- events ---- */

/* One step of a long call, valid during the callback or until the next step. */
class Event {
  public:
    explicit Event(const lp_event *event) noexcept : event_(event) {}

    lp_event_kind kind() const noexcept { return event_->kind; }
    int32_t token_id() const noexcept { return event_->token_id; }
    std::string_view text() const noexcept { return {event_->text ? event_->text : "", event_->text_bytes}; }
    double fraction() const noexcept { return event_->fraction; }
    const lp_event &raw() const noexcept { return *event_; }

  private:
    const lp_event *event_;
};

/* How an answer ended and what it used. */
struct Usage {
    lp_stop_reason stop_reason = LP_STOP_CANCELLED;
    uint64_t prompt_tokens = 0, reused_tokens = 0, completion_tokens = 0;
};

/* A message of a conversation. */
struct Message {
    std::string role, content;
};

namespace detail {

/* Takes an error object over. */
inline Error taken(lp_status status, lp_error *error) {
    Error result(status, lp_error_message(error), lp_error_details(error));
    lp_error_free(error);
    return result;
}

/* Takes a text over. */
inline std::string taken(char *text) {
    std::string result = text ? text : "";
    lp_string_free(text);
    return result;
}

/* A callable as a C callback. */
template <class F> class Callback {
  public:
    explicit Callback(F &callable) : callable_(callable) {}

    static int call(void *self, const lp_event *event) noexcept { return static_cast<Callback *>(self)->heard(Event(event)); }

    /* Throws what the callable threw. */
    void finish() {
#if LLAMA_PAJAMAS_EXCEPTIONS
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
    }

    Usage usage;

  private:
    int heard(const Event &event) noexcept {
        if (event.kind() == LP_EVENT_DONE) {
            const lp_event &raw = event.raw();
            usage = Usage{raw.stop_reason, raw.prompt_tokens, raw.reused_tokens, raw.completion_tokens};
        }
#if LLAMA_PAJAMAS_EXCEPTIONS
        if (thrown_) return 1;
        try {
            return told(event);
        } catch (...) {
            thrown_ = std::current_exception();
            return 1;
        }
#else
        return told(event);
#endif
    }

    int told(const Event &event) {
        if constexpr (std::is_convertible_v<std::invoke_result_t<F &, const Event &>, bool>) {
            return callable_(event) ? 0 : 1;
        } else {
            callable_(event);
            return 0;
        }
    }

    F &callable_;
#if LLAMA_PAJAMAS_EXCEPTIONS
    std::exception_ptr thrown_;
#endif
};

/* A handle that frees itself. */
template <class T, void (*Free)(T *)> class Handle {
  public:
    explicit Handle(T *raw = nullptr) noexcept : raw_(raw) {}
    Handle(Handle &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    Handle &operator=(Handle &&other) noexcept {
        if (this != &other) {
            close();
            raw_ = std::exchange(other.raw_, nullptr);
        }
        return *this;
    }
    ~Handle() { close(); }

    /* Frees it now. May be called again. */
    void close() noexcept { Free(std::exchange(raw_, nullptr)); }
    explicit operator bool() const noexcept { return raw_ != nullptr; }
    /* The C handle; it stays this object's. */
    T *raw() const noexcept { return raw_; }

  private:
    T *raw_;
};

struct Ignore {
    void operator()(const Event &) const noexcept {}
};

inline const char *or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

/* C's view of texts, alive as long as they. */
inline std::vector<const char *> pointers(const std::vector<std::string> &texts) {
    std::vector<const char *> pointers;
    for (const std::string &text : texts) pointers.push_back(text.c_str());
    return pointers;
}

} // namespace detail

/* ---- cancelling ---- */

/* A flag that stops calls. Moved, not copied; raised from any thread. */
class CancelToken {
  public:
    CancelToken() : raw_(lp_cancel_new()) {}
    CancelToken(CancelToken &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    CancelToken &operator=(CancelToken &&other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    ~CancelToken() { lp_cancel_free(raw_); }

    void raise() const noexcept { lp_cancel_raise(raw_); }
    void lower() const noexcept { lp_cancel_lower(raw_); }
    const lp_cancel *raw() const noexcept { return raw_; }

#if defined(__cpp_lib_jthread)
    struct Raise {
        const lp_cancel *raw;
        void operator()() const noexcept { lp_cancel_raise(raw); }
    };
    /* Raises this token when a stop is asked for, as long as the result lives, which must not outlive the token. */
    [[nodiscard]] std::stop_callback<Raise> follow(const std::stop_token &stop) const {
        return std::stop_callback<Raise>(stop, Raise{raw_});
    }
#endif

  private:
    lp_cancel *raw_;
};

/* ---- options ---- */

/* How to open (lp_runtime_options). */
struct RuntimeOptions {
    std::string cpu_variant, tuning_folder;
};

/* What a plan is to satisfy (lp_plan_options); zeros and empty texts are defaults. */
struct PlanOptions {
    uint64_t context_tokens = 0, memory_budget_bytes = 0, memory_cap_bytes = 0, device_memory_cap_bytes = 0;
    std::string variant;
    uint32_t n_threads = 0;

    lp_plan_options raw() const noexcept {
        lp_plan_options raw;
        lp_plan_options_init(&raw, sizeof raw);
        raw.context_tokens = context_tokens;
        raw.memory_budget_bytes = memory_budget_bytes;
        raw.memory_cap_bytes = memory_cap_bytes;
        raw.device_memory_cap_bytes = device_memory_cap_bytes;
        raw.variant = detail::or_null(variant);
        raw.n_threads = n_threads;
        return raw;
    }
};

/* How to open a session: lp_session_options with its defaults. */
struct SessionOptions : lp_session_options {
    SessionOptions() { lp_session_options_init(this, sizeof(lp_session_options)); }
};

/* How to open an embedder: lp_embed_options with its defaults. */
struct EmbedOptions : lp_embed_options {
    EmbedOptions() { lp_embed_options_init(this, sizeof(lp_embed_options)); }
};

/* What is new of the device: lp_signals with nothing new. */
struct Signals : lp_signals {
    Signals() { lp_signals_init(this, sizeof(lp_signals)); }
};

/* How to tune: lp_tune_options with its defaults. */
struct TuneOptions : lp_tune_options {
    TuneOptions() { lp_tune_options_init(this, sizeof(lp_tune_options)); }
};

/* How to pull (lp_pull_options). */
struct PullOptions {
    std::vector<std::string> variants;
    std::string trust_folder, authorization, proxy;
    uint64_t cap_bytes = 0;
};

/* How to make a variant (lp_requantize_options); empty texts and zeros below are defaults, but `text` must be given. */
struct RequantizeOptions {
    std::string precision, text, parent, replaces, imatrix;
    double max_kld = 0.0, time_budget_s = 0.0;
    uint32_t n_ctx = 0, max_windows = 0, n_threads = 0;
    bool wait_for_mains = true;
    uint64_t memory_budget_bytes = 0;
};

/* What to make of a model (lp_quantize_options); empty texts and lists and zeros are defaults. */
struct QuantizeOptions {
    std::string format;
    std::vector<std::string> precisions;
    std::vector<uint64_t> target_bytes;
    std::vector<std::string> plans, adapters;
    std::string sensitivity, moments, imatrix, model_id;
    uint64_t memory_budget_bytes = 0;
    uint32_t n_threads = 0;
    bool allow_requantize = false, dry_run = false;
};

class Adapter;

/* How to generate: lp_generate_options with its defaults, which owns its texts. */
class GenerateOptions {
  public:
    GenerateOptions() { lp_generate_options_init(&raw_, sizeof raw_); }

    GenerateOptions &max_tokens(uint32_t value) { return raw_.max_tokens = value, *this; }
    GenerateOptions &temperature(float value) { return raw_.temperature = value, *this; }
    GenerateOptions &top_k(uint32_t value) { return raw_.top_k = value, *this; }
    GenerateOptions &top_p(float value) { return raw_.top_p = value, *this; }
    GenerateOptions &min_p(float value) { return raw_.min_p = value, *this; }
    GenerateOptions &repeat_penalty(float value) { return raw_.repeat_penalty = value, *this; }
    GenerateOptions &frequency_penalty(float value) { return raw_.frequency_penalty = value, *this; }
    GenerateOptions &presence_penalty(float value) { return raw_.presence_penalty = value, *this; }
    GenerateOptions &seed(uint64_t value) { return raw_.seed = value, *this; }
    GenerateOptions &ignore_end_of_turn(bool value = true) { return raw_.ignore_end_of_turn = value, *this; }
    GenerateOptions &top_logprobs(int32_t value) { return raw_.top_logprobs = value, *this; }
    GenerateOptions &stop(std::string text) { return stops_.push_back(std::move(text)), *this; }
    GenerateOptions &json_schema(std::string text) { return json_schema_ = std::move(text), *this; }
    GenerateOptions &regex(std::string text) { return regex_ = std::move(text), *this; }
    GenerateOptions &grammar(std::string text) { return grammar_ = std::move(text), *this; }
    /* The adapter has to live until the call. */
    inline GenerateOptions &adapter(const Adapter &adapter, float scale = 1.0F);

  private:
    friend class Session;

    /* The C struct with arrays, alive as long as both. */
    lp_generate_options raw(std::vector<const char *> &stops) const {
        stops = detail::pointers(stops_);
        lp_generate_options raw = raw_;
        raw.stop_texts = stops.data();
        raw.n_stop_texts = stops.size();
        raw.json_schema = detail::or_null(json_schema_);
        raw.regex = detail::or_null(regex_);
        raw.grammar = detail::or_null(grammar_);
        raw.adapters = adapters_.data();
        raw.n_adapters = adapters_.size();
        return raw;
    }

    lp_generate_options raw_;
    std::vector<std::string> stops_;
    std::string json_schema_, regex_, grammar_;
    std::vector<lp_adapter_use> adapters_;
};

/* ---- objects ---- */

/* An adapter of one model (lp_adapter). */
class Adapter : public detail::Handle<lp_adapter, lp_adapter_free> {
    using Handle::Handle;
};

GenerateOptions &GenerateOptions::adapter(const Adapter &adapter, float scale) {
    return adapters_.push_back(lp_adapter_use{adapter.raw(), scale, 0}), *this;
}

/* Reads the device's signals for one model (lp_watch). The callable lives as long as the watch. */
class Watch {
  public:
    void close() noexcept { handle_.close(); }

  private:
    friend class Model;
    using Heard = std::function<void(const Event &)>;
    static int call(void *heard, const lp_event *event) noexcept { return (*static_cast<Heard *>(heard))(Event(event)), 0; }

    /* Freed after the handle, whose callback uses it. */
    std::unique_ptr<Heard> heard_;
    detail::Handle<lp_watch, lp_watch_free> handle_;
};

/* An answer that is fetched step by step (lp_stream). Its session is in use until it is closed. */
class Stream : public detail::Handle<lp_stream, lp_stream_free> {
  public:
    using Handle::Handle;

    /* Fetches the next event; nullptr when nothing has come within the time, when it is over, or when it failed: see is_over(). */
    const Event *next(std::chrono::milliseconds patience) { return fetch(patience.count()); }
    const Event *next() { return fetch(-1); }

    bool is_over() const noexcept { return over_; }
    void cancel() const noexcept { lp_stream_cancel(raw()); }

    /* Fetches what is left and tells how it ended. */
    Result<Usage> finish() {
        while (!over_) next();
        if (error_) return *error_;
        return usage_;
    }

    /* The events, for range-for; it ends early where the answer fails, which finish() tells. */
    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Event;
        using difference_type = std::ptrdiff_t;
        using pointer = const Event *;
        using reference = const Event &;

        iterator() = default;
        explicit iterator(Stream *stream) : stream_(stream) { ++*this; }
        reference operator*() const { return *event_; }
        pointer operator->() const { return event_; }
        iterator &operator++() {
            event_ = stream_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator &a, const iterator &b) { return a.event_ == b.event_; }
        friend bool operator!=(const iterator &a, const iterator &b) { return !(a == b); }

      private:
        Stream *stream_ = nullptr;
        const Event *event_ = nullptr;
    };
    iterator begin() { return iterator(this); }
    iterator end() { return {}; }

    /* The answer's text alone, for range-for: pieces as std::string_view, each valid until the next. */
    class Texts {
      public:
        class iterator {
          public:
            using iterator_category = std::input_iterator_tag;
            using value_type = std::string_view;
            using difference_type = std::ptrdiff_t;
            using pointer = const std::string_view *;
            using reference = std::string_view;

            iterator() = default;
            explicit iterator(Stream *stream) : stream_(stream) { ++*this; }
            reference operator*() const { return event_->text(); }
            iterator &operator++() {
                do event_ = stream_->next();
                while (event_ && event_->kind() != LP_EVENT_TEXT);
                return *this;
            }
            void operator++(int) { ++*this; }
            friend bool operator==(const iterator &a, const iterator &b) { return a.event_ == b.event_; }
            friend bool operator!=(const iterator &a, const iterator &b) { return !(a == b); }

          private:
            Stream *stream_ = nullptr;
            const Event *event_ = nullptr;
        };
        explicit Texts(Stream *stream) : stream_(stream) {}
        iterator begin() const { return iterator(stream_); }
        iterator end() const { return {}; }

      private:
        Stream *stream_;
    };
    Texts texts() { return Texts(this); }

  private:
    const Event *fetch(int64_t timeout_ms) {
        if (over_) return nullptr;
        const lp_event *event = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_stream_next(raw(), timeout_ms, &event, &error);
        if (status != LP_OK) {
            over_ = true;
            error_ = std::make_unique<Error>(detail::taken(status, error));
            return nullptr;
        }
        if (event->kind == LP_EVENT_NONE) return nullptr;
        if (event->kind == LP_EVENT_DONE) {
            over_ = true;
            usage_ = Usage{event->stop_reason, event->prompt_tokens, event->reused_tokens, event->completion_tokens};
            return nullptr;
        }
        event_ = Event(event);
        return &event_;
    }

    Event event_{nullptr};
    Usage usage_;
    bool over_ = false;
    std::unique_ptr<Error> error_;
};

/* One text in progress (lp_session). */
class Session : public detail::Handle<lp_session, lp_session_free> {
  public:
    using Handle::Handle;

    template <class F = detail::Ignore>
    Result<Usage> generate(const std::string &prompt, const GenerateOptions &options = {}, F &&on_event = {},
                           const CancelToken *cancel = nullptr) {
        return answer(options, on_event, [&](const lp_generate_options *raw, lp_event_fn call, void *data, lp_error **error) {
            return lp_session_generate(this->raw(), prompt.c_str(), raw, token(cancel), call, data, error);
        });
    }

    template <class F = detail::Ignore>
    Result<Usage> chat(const std::vector<Message> &messages, const GenerateOptions &options = {}, F &&on_event = {},
                       const CancelToken *cancel = nullptr) {
        std::vector<lp_message> list = raw_messages(messages);
        return answer(options, on_event, [&](const lp_generate_options *raw, lp_event_fn call, void *data, lp_error **error) {
            return lp_session_chat(this->raw(), list.data(), list.size(), raw, token(cancel), call, data, error);
        });
    }

    Result<Stream> stream(const std::string &prompt, const GenerateOptions &options = {}) {
        std::vector<const char *> stops;
        lp_generate_options raw = options.raw(stops);
        lp_stream *stream = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_stream_generate(this->raw(), prompt.c_str(), &raw, &stream, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Stream(stream);
    }

    Result<Stream> stream_chat(const std::vector<Message> &messages, const GenerateOptions &options = {}) {
        std::vector<const char *> stops;
        lp_generate_options raw = options.raw(stops);
        std::vector<lp_message> list = raw_messages(messages);
        lp_stream *stream = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_stream_chat(this->raw(), list.data(), list.size(), &raw, &stream, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Stream(stream);
    }

    Result<std::vector<uint8_t>> save() const {
        uint8_t *bytes = nullptr;
        size_t n_bytes = 0;
        lp_error *error = nullptr;
        lp_status status = lp_session_save(raw(), &bytes, &n_bytes, &error);
        if (status != LP_OK) return detail::taken(status, error);
        std::vector<uint8_t> result(bytes, bytes + n_bytes);
        lp_bytes_free(bytes, n_bytes);
        return result;
    }

    Result<void> restore(const std::vector<uint8_t> &bytes) {
        lp_error *error = nullptr;
        lp_status status = lp_session_restore(raw(), bytes.data(), bytes.size(), &error);
        if (status != LP_OK) return detail::taken(status, error);
        return {};
    }

    Result<Session> fork() const {
        lp_session *session = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_session_fork(raw(), &session, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Session(session);
    }

  private:
    static const lp_cancel *token(const CancelToken *cancel) noexcept { return cancel ? cancel->raw() : nullptr; }

    static std::vector<lp_message> raw_messages(const std::vector<Message> &messages) {
        std::vector<lp_message> list;
        for (const Message &message : messages) list.push_back({message.role.c_str(), message.content.c_str()});
        return list;
    }

    template <class F, class Call> Result<Usage> answer(const GenerateOptions &options, F &on_event, Call call) {
        std::vector<const char *> stops;
        lp_generate_options raw = options.raw(stops);
        detail::Callback<F> callback(on_event);
        lp_error *error = nullptr;
        lp_status status = call(&raw, &detail::Callback<F>::call, &callback, &error);
        if (status != LP_OK) {
            Error failure = detail::taken(status, error);
            return callback.finish(), Result<Usage>(std::move(failure));
        }
        callback.finish();
        return callback.usage;
    }
};

/* Turns texts into vectors (lp_embedder). */
class Embedder : public detail::Handle<lp_embedder, lp_embedder_free> {
  public:
    using Handle::Handle;

    Result<std::vector<float>> embed(const std::string &text, const CancelToken *cancel = nullptr) {
        std::vector<float> values(n_values_);
        const lp_cancel *token = cancel ? cancel->raw() : nullptr;
        for (;;) {
            size_t n_values = 0;
            lp_error *error = nullptr;
            lp_status status =
                lp_embedder_embed(raw(), text.c_str(), token, values.data(), values.size(), &n_values, &error);
            if (status != LP_OK) return detail::taken(status, error);
            bool whole = n_values <= values.size();
            values.resize(n_values);
            n_values_ = n_values;
            if (whole) return values;
        }
    }

  private:
    size_t n_values_ = 1024;
};

/* Loaded weights with their tokenizer (lp_model). */
class Model : public detail::Handle<lp_model, lp_model_free> {
  public:
    using Handle::Handle;

    Result<Session> session(const SessionOptions &options = {}) const {
        lp_session *session = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_session_open(raw(), &options, &session, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Session(session);
    }

    Result<Embedder> embedder(const EmbedOptions &options = {}) const {
        lp_embedder *embedder = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_embedder_open(raw(), &options, &embedder, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Embedder(embedder);
    }

    Result<Adapter> load_adapter(const std::string &path) const {
        lp_adapter *adapter = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_adapter_load(raw(), path.c_str(), &adapter, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Adapter(adapter);
    }

    Result<std::vector<int32_t>> tokenize(const std::string &text, bool add_special = true) const {
        std::vector<int32_t> tokens(text.size() + 16);
        for (;;) {
            size_t n_tokens = 0;
            lp_error *error = nullptr;
            lp_status status =
                lp_model_tokenize(raw(), text.c_str(), add_special, tokens.data(), tokens.size(), &n_tokens, &error);
            if (status != LP_OK) return detail::taken(status, error);
            bool whole = n_tokens <= tokens.size();
            tokens.resize(n_tokens);
            if (whole) return tokens;
        }
    }

    Result<std::string> detokenize(const std::vector<int32_t> &tokens) const {
        char *text = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_model_detokenize(raw(), tokens.data(), tokens.size(), &text, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return detail::taken(text);
    }

    /* A JSON object (lp_model_describe). */
    Result<std::string> describe() const {
        char *json = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_model_describe(raw(), &json, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return detail::taken(json);
    }

    template <class F = detail::Ignore> Result<void> report(const Signals &signals = {}, F &&on_event = {}) const {
        detail::Callback<std::remove_reference_t<F>> callback(on_event);
        lp_error *error = nullptr;
        lp_status status =
            lp_model_report(raw(), &signals, &detail::Callback<std::remove_reference_t<F>>::call, &callback, &error);
        if (status != LP_OK) return detail::taken(status, error);
        callback.finish();
        return {};
    }

    /* `heard` runs on a thread of the library and must not throw. */
    Result<Watch> watch(std::chrono::milliseconds every, std::function<void(const Event &)> heard) const {
        Watch watch;
        watch.heard_ = std::make_unique<Watch::Heard>(std::move(heard));
        lp_watch *raw_watch = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_model_watch(raw(), static_cast<uint32_t>(every.count()), &Watch::call, watch.heard_.get(),
                                          &raw_watch, &error);
        if (status != LP_OK) return detail::taken(status, error);
        watch.handle_ = detail::Handle<lp_watch, lp_watch_free>(raw_watch);
        return Result<Watch>(std::move(watch));
    }
};

/* An opened bundle or model file (lp_runtime). Texts of JSON are as the C function of the same name tells. */
class Runtime : public detail::Handle<lp_runtime, lp_runtime_free> {
  public:
    using Handle::Handle;

    static Result<Runtime> open(const std::string &path, const RuntimeOptions &options = {}) {
        lp_runtime_options raw;
        lp_runtime_options_init(&raw, sizeof raw);
        raw.cpu_variant = detail::or_null(options.cpu_variant);
        raw.tuning_folder = detail::or_null(options.tuning_folder);
        lp_runtime *runtime = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_runtime_open(path.c_str(), &raw, &runtime, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return Runtime(runtime);
    }

    Result<std::string> describe() const {
        char *json = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_runtime_describe(raw(), &json, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return detail::taken(json);
    }

    Result<std::string> plan(const PlanOptions &options = {}) const {
        lp_plan_options asked = options.raw();
        char *json = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_runtime_plan(raw(), &asked, &json, &error);
        if (status != LP_OK) return detail::taken(status, error);
        return detail::taken(json);
    }

    template <class F = detail::Ignore>
    Result<Model> load(const PlanOptions &options = {}, F &&on_event = {}, const CancelToken *cancel = nullptr) const {
        using Call = detail::Callback<std::remove_reference_t<F>>;
        Call callback(on_event);
        lp_plan_options asked = options.raw();
        lp_model *model = nullptr;
        lp_error *error = nullptr;
        lp_status status = lp_runtime_load(raw(), &asked, cancel ? cancel->raw() : nullptr, &Call::call, &callback, &model, &error);
        Model loaded(model);
        if (status != LP_OK) {
            Error failure = detail::taken(status, error);
            return callback.finish(), Result<Model>(std::move(failure));
        }
        callback.finish();
        return Result<Model>(std::move(loaded));
    }

    template <class F = detail::Ignore>
    Result<std::string> tune(const Model &model, const TuneOptions &options = {}, F &&on_event = {},
                             const CancelToken *cancel = nullptr) const {
        return told(on_event, [&](lp_event_fn call, void *data, char **json, lp_error **error) {
            return lp_model_tune(raw(), model.raw(), &options, cancel ? cancel->raw() : nullptr, call, data, json, error);
        });
    }

    template <class F = detail::Ignore>
    Result<std::string> requantize(const RequantizeOptions &options, F &&on_event = {},
                                   const CancelToken *cancel = nullptr) const {
        lp_requantize_options asked;
        lp_requantize_options_init(&asked, sizeof asked);
        if (!options.precision.empty()) asked.precision = options.precision.c_str();
        asked.text = options.text.c_str();
        asked.parent = detail::or_null(options.parent);
        asked.replaces = detail::or_null(options.replaces);
        asked.imatrix = detail::or_null(options.imatrix);
        if (options.max_kld != 0.0) asked.max_kld = options.max_kld;
        if (options.n_ctx != 0) asked.n_ctx = options.n_ctx;
        if (options.max_windows != 0) asked.max_windows = options.max_windows;
        if (options.n_threads != 0) asked.n_threads = options.n_threads;
        asked.wait_for_mains = options.wait_for_mains;
        asked.memory_budget_bytes = options.memory_budget_bytes;
        asked.time_budget_s = options.time_budget_s;
        return told(on_event, [&](lp_event_fn call, void *data, char **json, lp_error **error) {
            return lp_runtime_requantize(raw(), &asked, cancel ? cancel->raw() : nullptr, call, data, json, error);
        });
    }

    template <class F, class Call> static Result<std::string> told(F &on_event, Call call) {
        detail::Callback<F> callback(on_event);
        char *json = nullptr;
        lp_error *error = nullptr;
        lp_status status = call(&detail::Callback<F>::call, &callback, &json, &error);
        std::string text = detail::taken(json);
        if (status != LP_OK) {
            Error failure = detail::taken(status, error);
            return callback.finish(), Result<std::string>(std::move(failure));
        }
        callback.finish();
        return text;
    }
};

/* ---- bundles, the device ---- */

/* Checks a bundle on this disk (lp_bundle_verify). */
template <class F = detail::Ignore>
Result<std::string> verify_bundle(const std::string &path, const std::string &trust_folder = {}, F &&on_event = {},
                                  const CancelToken *cancel = nullptr) {
    return Runtime::told(on_event, [&](lp_event_fn call, void *data, char **json, lp_error **error) {
        const lp_cancel *token = cancel ? cancel->raw() : nullptr;
        return lp_bundle_verify(path.c_str(), detail::or_null(trust_folder), token, call, data, json, error);
    });
}

/* Fetches a bundle (lp_bundle_pull). */
template <class F = detail::Ignore>
Result<std::string> pull_bundle(const std::string &manifest_url, const std::string &destination, const PullOptions &options = {},
                                F &&on_event = {}, const CancelToken *cancel = nullptr) {
    auto variants = detail::pointers(options.variants);
    lp_pull_options asked;
    lp_pull_options_init(&asked, sizeof asked);
    asked.variants = variants.data();
    asked.n_variants = variants.size();
    asked.trust_folder = detail::or_null(options.trust_folder);
    asked.authorization = detail::or_null(options.authorization);
    asked.proxy = detail::or_null(options.proxy);
    asked.cap_bytes = options.cap_bytes;
    return Runtime::told(on_event, [&](lp_event_fn call, void *data, char **json, lp_error **error) {
        const lp_cancel *token = cancel ? cancel->raw() : nullptr;
        return lp_bundle_pull(manifest_url.c_str(), destination.c_str(), &asked, token, call, data, json, error);
    });
}

/* Makes variants of a checkpoint's folder or a GGUF file and publishes them together in the bundle at `output` (lp_quantize). */
template <class F = detail::Ignore>
Result<std::string> quantize(const std::string &model, const std::string &output, const QuantizeOptions &options = {},
                             F &&on_event = {}, const CancelToken *cancel = nullptr) {
    auto precisions = detail::pointers(options.precisions), plans = detail::pointers(options.plans);
    auto adapters = detail::pointers(options.adapters);
    lp_quantize_options asked;
    lp_quantize_options_init(&asked, sizeof asked);
    asked.format = detail::or_null(options.format);
    asked.precisions = precisions.data(), asked.n_precisions = precisions.size();
    asked.target_bytes = options.target_bytes.data(), asked.n_target_bytes = options.target_bytes.size();
    asked.plans = plans.data(), asked.n_plans = plans.size();
    asked.adapters = adapters.data(), asked.n_adapters = adapters.size();
    asked.sensitivity = detail::or_null(options.sensitivity);
    asked.moments = detail::or_null(options.moments);
    asked.imatrix = detail::or_null(options.imatrix);
    asked.model_id = detail::or_null(options.model_id);
    asked.memory_budget_bytes = options.memory_budget_bytes;
    asked.n_threads = options.n_threads;
    asked.allow_requantize = options.allow_requantize;
    asked.dry_run = options.dry_run;
    return Runtime::told(on_event, [&](lp_event_fn call, void *data, char **json, lp_error **error) {
        const lp_cancel *token = cancel ? cancel->raw() : nullptr;
        return lp_quantize(model.c_str(), output.c_str(), &asked, token, call, data, json, error);
    });
}

/* What this device and this library are, as JSON (lp_host_report). */
inline Result<std::string> host_report() {
    char *json = nullptr;
    lp_error *error = nullptr;
    lp_status status = lp_host_report(&json, &error);
    if (status != LP_OK) return detail::taken(status, error);
    return detail::taken(json);
}

} // namespace llama_pajamas

#endif /* LLAMA_PAJAMAS_HPP */
