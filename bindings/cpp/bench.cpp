/* What a token costs through the C++ layer: `bench MODEL TOKENS ROUNDS [stream]`. Prints, per round, CPU microseconds per token. */

#include "llama_pajamas.hpp"

#include <cstdio>
#include <cstdlib>
#include <sys/resource.h>

namespace lp = llama_pajamas;

static double cpu_us() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return 1e6 * static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    lp::PlanOptions plan;
    plan.context_tokens = 2048;
    plan.n_threads = 1;
    lp::Runtime runtime = lp::Runtime::open(argv[1]).value();
    lp::Model model = runtime.load(plan).value();
    lp::Session session = model.session().value();
    lp::GenerateOptions options;
    options.max_tokens(static_cast<uint32_t>(std::atoi(argv[2]))).temperature(0.0F).ignore_end_of_turn();
    for (int round = std::atoi(argv[3]); round > 0; round--) {
        std::string text;
        size_t n_tokens = 0;
        auto hear = [&](const lp::Event &event) {
            if (event.kind() == LP_EVENT_TOKEN) n_tokens++;
            if (event.kind() == LP_EVENT_TEXT) text += event.text();
        };
        double before = cpu_us();
        if (argc > 4) {
            lp::Stream stream = session.stream("Once upon a time", options).value();
            for (const lp::Event &event : stream) hear(event);
            (void)stream.finish().value();
        } else {
            (void)session.generate("Once upon a time", options, hear).value();
        }
        std::printf("%.3f\n", (cpu_us() - before) / static_cast<double>(n_tokens));
    }
    return 0;
}
