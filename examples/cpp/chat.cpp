// chat.cpp: a conversation on a terminal. Ctrl-C stops an answer, the end of the input the program. chat MODEL
#include "llama_pajamas.hpp"

#include <csignal>
#include <iostream>

namespace lp = llama_pajamas;

static const lp::CancelToken *interrupt_token; // raising is allowed in a signal handler

int main(int argc, char **argv) {
    if (argc != 2) return std::cerr << "usage: chat MODEL\n", 2;
    lp::CancelToken cancel;
    interrupt_token = &cancel;
    std::signal(SIGINT, [](int) { interrupt_token->raise(); });
    try {
        lp::Runtime runtime = lp::Runtime::open(argv[1]).value();
        lp::Model model = runtime.load().value();
        lp::SessionOptions options;
        options.when_full = LP_WHEN_FULL_SHIFT; // a long conversation loses its older half
        lp::Session session = model.session(options).value();
        std::vector<lp::Message> messages{{"system", "You are a friendly companion. Answer in a few sentences."}};
        for (std::string line; std::cout << "> " << std::flush && std::getline(std::cin, line);) {
            if (line.empty()) continue;
            messages.push_back({"user", line});
            std::string answer;
            cancel.lower(); // a Ctrl-C at the prompt was for nothing
            auto hear = [&](const lp::Event &event) {
                if (event.kind() == LP_EVENT_TEXT) answer += event.text(), std::cout << event.text() << std::flush;
            };
            // The whole conversation is handed in; what the session computed already is not computed again.
            session.chat(messages, lp::GenerateOptions().max_tokens(256), hear, &cancel).value();
            std::cout << '\n';
            messages.push_back({"assistant", answer});
        }
    } catch (const lp::Exception &exception) {
        std::cerr << exception.what() << '\n';
        return 1;
    }
    std::signal(SIGINT, SIG_DFL);
}
