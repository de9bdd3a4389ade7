// desktop.cpp: how an app with windows holds a model. One thread works, the window's thread only sends wishes and takes news, so that
// nothing freezes: loading with progress, an answer as it comes, a button that stops it, an error as a line. desktop MODEL QUESTION
// The window is left out: `pump` is what Qt's timer, GTK's idle source or a Win32 message would call.
#include "llama_pajamas.hpp"

#include <condition_variable>
#include <deque>
#include <iostream>
#include <mutex>
#include <optional>
#include <thread>

namespace lp = llama_pajamas;

// What the window's thread is told.
struct News {
    enum Kind { Loading, Ready, Text, Done, Failed } kind;
    std::string text;
    double fraction = 0.0;
};

class Assistant {
  public:
    explicit Assistant(std::string path) : path_(std::move(path)), thread_([this] { work(); }) {}

    ~Assistant() {
        {
            std::lock_guard lock(mutex_);
            is_ending_ = true;
        }
        cancel_.raise(); // also ends a load
        wake_.notify_one();
        thread_.join();
    }

    // From the window's thread; none of them waits.
    void ask(std::string question) {
        {
            std::lock_guard lock(mutex_);
            question_ = std::move(question);
        }
        wake_.notify_one();
    }
    void stop() { cancel_.raise(); }
    std::optional<News> pump() {
        std::lock_guard lock(mutex_);
        if (news_.empty()) return {};
        News first = std::move(news_.front());
        news_.pop_front();
        return first;
    }

  private:
    void tell(News::Kind kind, std::string text = {}, double fraction = 0.0) {
        std::lock_guard lock(mutex_);
        news_.push_back({kind, std::move(text), fraction});
    }

    void work() {
        auto runtime = lp::Runtime::open(path_);
        if (!runtime) return tell(News::Failed, runtime.error().message());
        lp::PlanOptions plan;
        plan.memory_cap_bytes = 4ULL << 30; // other programs are open as well
        auto loading = [this](const lp::Event &event) { tell(News::Loading, {}, event.fraction()); };
        auto model = runtime->load(plan, loading, &cancel_);
        if (!model) return tell(News::Failed, model.error().message());
        // Heat, memory and load are read where the system tells them; answers then use fewer threads.
        auto watch = model->watch(std::chrono::seconds(2), [](const lp::Event &) {});
        lp::SessionOptions options;
        options.when_full = LP_WHEN_FULL_SHIFT;
        auto session = model->session(options);
        if (!session) return tell(News::Failed, session.error().message());
        tell(News::Ready);
        std::vector<lp::Message> messages{{"system", "You are a friendly companion."}};
        while (std::optional<std::string> question = next_question()) {
            messages.push_back({"user", std::move(*question)});
            std::string answer;
            auto hear = [&](const lp::Event &event) {
                if (event.kind() != LP_EVENT_TEXT) return;
                answer += event.text();
                tell(News::Text, std::string(event.text()));
            };
            auto usage = session->chat(messages, lp::GenerateOptions().max_tokens(120), hear, &cancel_);
            messages.push_back({"assistant", answer});
            if (usage) tell(News::Done, usage->stop_reason == LP_STOP_CANCELLED ? "stopped" : "done");
            else tell(News::Failed, usage.error().message()); // the session is still good
        }
    }

    std::optional<std::string> next_question() {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return is_ending_ || question_; });
        if (is_ending_) return {};
        cancel_.lower();
        std::optional<std::string> question = std::move(question_);
        question_.reset();
        return question;
    }

    std::string path_;
    lp::CancelToken cancel_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::optional<std::string> question_;
    std::deque<News> news_;
    bool is_ending_ = false;
    std::thread thread_; // the last member: it uses the others
};

int main(int argc, char **argv) {
    if (argc != 3) return std::cerr << "usage: desktop MODEL QUESTION\n", 2;
    Assistant assistant(argv[1]);
    int n_pieces = 0;
    for (bool is_open = true; is_open; std::this_thread::sleep_for(std::chrono::milliseconds(16))) {
        while (std::optional<News> news = assistant.pump()) {
            switch (news->kind) {
            case News::Loading: std::cout << "loading " << static_cast<int>(100 * news->fraction) << " %\n"; break;
            case News::Ready: assistant.ask(argv[2]); break;
            case News::Text:
                std::cout << news->text << std::flush;
                if (++n_pieces == 30) assistant.stop(); // somebody presses the button
                break;
            case News::Done: std::cout << "\n(" << news->text << ")\n"; is_open = false; break;
            case News::Failed: std::cerr << news->text << '\n'; return 1;
            }
        }
    }
}
