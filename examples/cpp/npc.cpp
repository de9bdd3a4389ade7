// npc.cpp: the loop of a game with 60 frames a second, in which a character talks. No frame waits for the model: it is loaded on a
// thread, answers are computed on the library's, and a frame only looks whether something has come. npc MODEL [FRAMES]
// Prints what it heard and its longest frame, and fails where one took 16 ms. Compiles with -fno-exceptions -fno-rtti.
#include "llama_pajamas.hpp"

#include <algorithm>
#include <cstdio>
#include <future>
#include <optional>
#include <thread>

namespace lp = llama_pajamas;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Somebody in the game. Every function returns at once.
class Character {
  public:
    explicit Character(const std::string &path) : loading_(std::async(std::launch::async, [path] { return load(path); })) {}

    bool is_ready() const { return session_.has_value(); }
    bool is_talking() const { return stream_.has_value(); }
    const std::string &line() const { return line_; }
    const std::string &problem() const { return problem_; }

    // Begins to answer, unless an answer is under way.
    void ask(const std::string &question) {
        if (!session_ || stream_) return;
        messages_.push_back({"user", question});
        line_.clear();
        auto stream = session_->stream_chat(messages_, lp::GenerateOptions().max_tokens(60).ignore_end_of_turn());
        if (stream) stream_.emplace(std::move(*stream));
        else problem_ = stream.error().message();
    }

    // The player walks away. What is left of the answer is fetched by the frames that follow.
    void leave() {
        if (stream_) stream_->cancel();
    }

    // Once a frame: takes what has come.
    void update() {
        if (!session_ && loading_.valid() && loading_.wait_for(0s) == std::future_status::ready) take(loading_.get());
        while (stream_) {
            const lp::Event *event = stream_->next(0ms);
            if (event) {
                if (event->kind() == LP_EVENT_TEXT) line_ += event->text();
                continue;
            }
            if (!stream_->is_over()) return;
            auto usage = stream_->finish();
            if (!usage) problem_ = usage.error().message();
            messages_.push_back({"assistant", line_});
            stream_.reset(); // it is over: closing waits for nothing
        }
    }

  private:
    static lp::Result<lp::Session> load(const std::string &path) {
        auto runtime = lp::Runtime::open(path);
        if (!runtime) return runtime.error();
        lp::PlanOptions plan;
        plan.context_tokens = 512;
        plan.memory_cap_bytes = 2ULL << 30; // the game needs the rest
        plan.n_threads = std::max(1U, std::thread::hardware_concurrency() / 2);
        auto model = runtime->load(plan);
        if (!model) return model.error();
        lp::SessionOptions options;
        options.when_full = LP_WHEN_FULL_SHIFT;
        options.max_step_us = 4000; // no step of a prompt holds a shared device for longer
        return model->session(options);
    }

    void take(lp::Result<lp::Session> loaded) {
        if (loaded) session_.emplace(std::move(*loaded));
        else problem_ = loaded.error().message();
    }

    // Members go from the last to the first: the stream before its session.
    std::future<lp::Result<lp::Session>> loading_;
    std::optional<lp::Session> session_;
    std::vector<lp::Message> messages_{{"system", "You sell potions. Answer in one sentence."}};
    std::optional<lp::Stream> stream_;
    std::string line_, problem_;
};

int main(int argc, char **argv) {
    if (argc < 2) return std::fprintf(stderr, "usage: npc MODEL [FRAMES]\n"), 2;
    const int n_frames = argc > 2 ? std::atoi(argv[2]) : 600;
    Character seller(argv[1]);
    std::vector<double> frames;
    int asked = 0, n_talking = 0, since_question = 0;
    auto next = Clock::now();
    for (int frame = 0; frame < n_frames && seller.problem().empty(); frame++) {
        auto begun = Clock::now();
        seller.update();
        if (seller.is_ready() && !seller.is_talking()) {
            if (asked > 0) std::printf("%s\n", seller.line().c_str());
            seller.ask(asked++ % 2 == 0 ? "What is the green one for?" : "And what is it made of?");
            since_question = 0;
        }
        if (since_question++ == 20 && asked % 3 == 0) seller.leave();
        n_talking += seller.is_talking();
        // Here the game moves and draws.
        frames.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begun).count());
        next += 16667us;
        std::this_thread::sleep_until(next);
    }
    seller.leave();
    if (!seller.problem().empty()) return std::fprintf(stderr, "%s\n", seller.problem().c_str()), 1;
    std::sort(frames.begin(), frames.end());
    const double longest = frames.empty() ? 0.0 : frames.back(), usual = frames.empty() ? 0.0 : frames[frames.size() / 2];
    std::printf("%zu frames, %d of them while it talked, %d questions: longest %.3f ms, median %.3f ms\n", frames.size(), n_talking,
                asked, longest, usual);
    return longest < 16.0 && n_talking > 0 ? 0 : 1;
}
