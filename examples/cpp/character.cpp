// character.cpp: makes up a character as JSON. character MODEL
#include "llama_pajamas.hpp"

#include <cstdio>
#include <future>
#include <thread>

namespace lp = llama_pajamas;

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    auto runtime = lp::Runtime::open(argv[1]);
    if (!runtime) return std::fprintf(stderr, "%s\n", runtime.error().message().c_str()), 1;
    lp::PlanOptions plan;
    plan.memory_cap_bytes = 2ULL << 30; // the game needs the rest
    auto model = runtime->load(plan, [](const lp::Event &event) { std::printf("\rloading %3.0f %%", 100 * event.fraction()); });
    if (!model) return std::fprintf(stderr, "%s\n", model.error().message().c_str()), 1;
    auto session = model->session();
    if (!session) return std::fprintf(stderr, "%s\n", session.error().message().c_str()), 1;

    lp::CancelToken cancel;
    std::promise<void> over;
    std::thread watchdog([&, done = over.get_future()] {
        if (done.wait_for(std::chrono::seconds(60)) == std::future_status::timeout) cancel.raise();
    });
    lp::GenerateOptions options;
    options.max_tokens(60).temperature(0).json_schema(R"({
        "type": "object", "additionalProperties": false, "required": ["name", "brave"],
        "properties": {"name": {"enum": ["Lily", "Tom", "Spot"]}, "brave": {"type": "boolean"}}
    })");
    std::string json;
    auto hear = [&](const lp::Event &event) {
        if (event.kind() == LP_EVENT_TEXT) json += event.text();
    };
    auto usage = session->generate("The hero of the story: ", options, hear, &cancel);
    over.set_value();
    watchdog.join();
    if (!usage) return std::fprintf(stderr, "%s\n", usage.error().message().c_str()), 1;
    std::printf("\n%s\n", json.c_str());
}
