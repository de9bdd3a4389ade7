// tell.cpp: goes on with a text. tell MODEL TEXT
#include "llama_pajamas.hpp"

#include <iostream>

namespace lp = llama_pajamas;

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    try {
        lp::Runtime runtime = lp::Runtime::open(argv[1]).value();
        lp::Model model = runtime.load().value();
        lp::Session session = model.session().value();
        lp::Stream stream = session.stream(argv[2], lp::GenerateOptions().max_tokens(40).seed(1)).value();
        for (std::string_view text : stream.texts()) std::cout << text << std::flush;
        lp::Usage usage = stream.finish().value(); // throws where the answer failed
        std::cout << "\n(" << usage.completion_tokens << " tokens)\n";
    } catch (const lp::Exception &exception) {
        std::cerr << exception.what() << '\n';
        return 1;
    }
}
