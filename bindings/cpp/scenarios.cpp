/* Runs the table of scenarios through the C++ layer: `scenarios TABLE FILES`, as every language's program does.
 * Prints scenario, step and outcome of every line. Works without exceptions. */

#include "llama_pajamas.hpp"

#include <cmath>
#include <cstring>
#include <fstream>
#include <future>
#include <iostream>
#include <thread>

/* Exported by libraries that are built for tests. */
extern "C" lp_status lp_test_panic(lp_error **error);

namespace lp = llama_pajamas;

namespace {

struct Line {
    std::string scenario, step;
    std::vector<std::pair<std::string, std::string>> arguments;

    const std::string *find(std::string_view name) const {
        for (const auto &[key, value] : arguments)
            if (key == name) return &value;
        return nullptr;
    }
    std::string text(std::string_view name) const { return find(name) ? *find(name) : std::string(); }
    double number(std::string_view name, double missing = 0) const {
        return find(name) ? std::strtod(find(name)->c_str(), nullptr) : missing;
    }
    std::string prompt() const {
        std::string result;
        for (double i = 0; i < number("times", 1); i++) result += text("prompt");
        return result;
    }
    bool is(std::string_view name, std::string_view value) const { return find(name) && *find(name) == value; }
};

Line parse(const std::string &text) {
    Line line;
    size_t from = 0;
    for (size_t column = 0; from <= text.size(); column++) {
        size_t end = std::min(text.find('\t', from), text.size());
        std::string cell = text.substr(from, end - from);
        from = end + 1;
        size_t equals = cell.find('=');
        if (column == 0) line.scenario = cell;
        else if (column == 1) line.step = cell;
        else if (cell.rfind("=> ", 0) != 0 && equals != std::string::npos) {
            std::string value = cell.substr(equals + 1);
            for (size_t at; (at = value.find("\\n")) != std::string::npos;) value.replace(at, 2, "\n");
            line.arguments.emplace_back(cell.substr(0, equals), value);
        }
    }
    return line;
}

/* Objects of a scenario. */
struct Objects {
    lp::Runtime runtime;
    lp::Model model;
    lp::Session session;
    lp::Adapter adapter;
    lp::Embedder embedder;
    std::vector<uint8_t> state;
};

std::string failed(const lp::Error &error) {
    const std::string &details = error.details();
    size_t from = details.find("\"code\":\"") + 8;
    return "error " + details.substr(from, details.find('"', from) - from) + " " + details;
}

std::string quoted(std::string_view text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '\n') result += "\\n";
        else if (c == '\t') result += "\\t";
        else if (c == '"') result += "\\\"";
        else result += c;
    }
    return result + '"';
}

/* The text behind `key`, behind `anchor`, up to a quote or comma. */
std::string value_of(const std::string &json, std::string_view anchor, std::string_view key) {
    size_t at = json.find(anchor);
    at = at == std::string::npos ? at : json.find(key, at);
    if (at == std::string::npos) return "none";
    at += key.size();
    return json.substr(at, json.find_first_of("\",}", at) - at);
}

const char *const reasons[] = {"end_of_turn", "stop_text", "max_tokens", "context", "cancelled"};

struct Heard {
    std::string text;
    size_t n_tokens = 0, n_logprobs = 0;

    void hear(const lp::Event &event) {
        if (event.kind() == LP_EVENT_TOKEN) n_tokens++;
        if (event.kind() == LP_EVENT_TEXT) text += event.text();
        if (event.kind() == LP_EVENT_LOGPROBS) n_logprobs++;
    }
    std::string answer(const lp::Usage &usage) const {
        return std::string("stop=") + reasons[usage.stop_reason] + " completion=" + std::to_string(usage.completion_tokens) +
               " prompt=" + std::to_string(usage.prompt_tokens) + " reused=" + std::to_string(usage.reused_tokens) +
               (n_logprobs ? " logprobs=" + std::to_string(n_logprobs) : "") + " text=" + quoted(text);
    }
};

lp::GenerateOptions generate_options(const Line &line, const Objects &objects) {
    lp::GenerateOptions options;
    options.max_tokens(static_cast<uint32_t>(line.number("max", 512)))
        .temperature(static_cast<float>(line.number("temperature")))
        .seed(static_cast<uint64_t>(line.number("seed")))
        .json_schema(line.text("schema"))
        .regex(line.text("regex"))
        .grammar(line.text("grammar"))
        .ignore_end_of_turn(line.number("ignore_end") != 0)
        .top_logprobs(static_cast<int32_t>(line.number("logprobs", -1)));
    if (line.find("top_p")) options.top_p(static_cast<float>(line.number("top_p")));
    for (const auto &[name, value] : line.arguments)
        if (name == "stop") options.stop(value);
    if (line.find("adapter")) options.adapter(objects.adapter, static_cast<float>(line.number("adapter")));
    return options;
}

std::vector<lp::Message> messages(const Line &line) {
    std::vector<lp::Message> list;
    for (const auto &[name, value] : line.arguments)
        if (name == "system" || name == "user" || name == "assistant") list.push_back({name, value});
    return list;
}

std::string generate(const Line &line, Objects &objects) {
    lp::GenerateOptions options = generate_options(line, objects);
    lp::CancelToken cancel;
    Heard all;
    bool in_thread = line.is("cancel", "thread");
    if (line.is("cancel", "before")) cancel.raise();
    size_t cancel_at = in_thread || line.is("cancel", "before") ? 0 : static_cast<size_t>(line.number("cancel"));
    size_t break_at = static_cast<size_t>(line.number("break"));
    std::promise<void> first;
    std::thread other;
    if (in_thread) other = std::thread([&] { first.get_future().wait(), cancel.raise(); });
    auto hear = [&](const lp::Event &event) {
        all.hear(event);
        if (event.kind() != LP_EVENT_TOKEN) return true;
        if (in_thread && all.n_tokens == 1) first.set_value();
        if (all.n_tokens == cancel_at) cancel.raise();
        return all.n_tokens != break_at;
    };
    lp::Result<lp::Usage> usage = line.step == "chat" ? objects.session.chat(messages(line), options, hear, &cancel)
                                                      : objects.session.generate(line.prompt(), options, hear, &cancel);
    if (in_thread) other.join();
    if (!usage) return failed(usage.error());
    return in_thread ? std::string("stop=") + reasons[usage->stop_reason] : all.answer(*usage);
}

std::string stream(const Line &line, Objects &objects) {
    lp::GenerateOptions options = generate_options(line, objects);
    size_t cancel_at = static_cast<size_t>(line.number("cancel")), drop_at = static_cast<size_t>(line.number("drop"));
    Heard all;
    lp::Result<lp::Stream> opened = line.step == "stream_chat" ? objects.session.stream_chat(messages(line), options)
                                                               : objects.session.stream(line.prompt(), options);
    if (!opened) return failed(opened.error());
    lp::Stream &stream = *opened;
    if (line.find("poll")) {
        while (!stream.is_over())
            if (const lp::Event *event = stream.next(std::chrono::milliseconds(0))) all.hear(*event);
    } else {
        for (const lp::Event &event : stream) {
            all.hear(event);
            if (event.kind() == LP_EVENT_TOKEN && all.n_tokens == cancel_at) stream.cancel();
            if (event.kind() == LP_EVENT_TOKEN && all.n_tokens == drop_at) return "dropped";
        }
    }
    lp::Result<lp::Usage> usage = stream.finish();
    if (!usage) return failed(usage.error());
    return cancel_at ? std::string("stop=") + reasons[usage->stop_reason] : all.answer(*usage);
}

std::string threads(const Line &line, Objects &objects) {
    std::vector<std::future<std::string>> workers;
    for (size_t i = 0; i < static_cast<size_t>(line.number("n", 2)); i++) {
        workers.push_back(std::async(std::launch::async, [&] {
            lp::Result<lp::Session> session = objects.model.session();
            Heard all;
            if (!session) return failed(session.error());
            lp::Result<lp::Usage> usage = session->generate(line.prompt(), generate_options(line, objects),
                                                            [&](const lp::Event &event) { all.hear(event); });
            return usage ? all.text : failed(usage.error());
        }));
    }
    std::vector<std::string> texts;
    for (auto &worker : workers) texts.push_back(worker.get());
    bool same = true;
    for (const std::string &text : texts) same = same && text == texts[0];
    return "threads=" + std::to_string(texts.size()) + " same=" + (same ? "yes" : "no") + " text=" + quoted(texts[0]);
}

/* Takes what was opened, or tells why nothing was. */
template <class T> std::string taken(lp::Result<T> result, T &place) {
    if (!result) return failed(result.error());
    place = std::move(*result);
    return "ok";
}

std::string decimals(double value, int digits) {
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string run(const Line &line, Objects &objects, const std::string &files) {
    const std::string &step = line.step;
    auto place = [&](std::string_view name) { return files + "/" + line.text(name); };
    lp::CancelToken cancel;
    if (line.is("cancel", "before")) cancel.raise();
    auto ignore = [](const lp::Event &) {};
    lp::PlanOptions plan;
    plan.context_tokens = static_cast<uint64_t>(line.number("context"));
    plan.memory_budget_bytes = static_cast<uint64_t>(line.number("budget"));
    plan.memory_cap_bytes = static_cast<uint64_t>(line.number("cap"));
    plan.n_threads = static_cast<uint32_t>(line.number("threads"));
    plan.variant = line.text("variant");
    if (step == "versions") return "abi=" + std::to_string(lp_abi_version()) + " library=" + lp_version();
    if (step == "host") {
        auto json = lp::host_report();
        return json ? json->find("\"cpu\":{") != std::string::npos ? "ok" : *json : failed(json.error());
    }
    if (step == "open") {
        lp::RuntimeOptions options;
        options.cpu_variant = line.text("cpu_variant");
        return taken(lp::Runtime::open(place("path"), options), objects.runtime);
    }
    if (step == "describe") {
        auto json = objects.runtime.describe();
        if (!json) return failed(json.error());
        std::string variants = json->substr(0, json->find(",\"bundle\":")); // which stands behind them
        size_t count = 0;
        for (size_t at = 0; (at = variants.find("\"description\":", at)) != std::string::npos; at++) count++;
        return "variants=" + std::to_string(count) + " first=" + value_of(variants, "\"variants\":[", "\"id\":\"");
    }
    if (step == "verify") {
        auto json = lp::verify_bundle(place("path"), {}, ignore, &cancel);
        return json ? "ok files=" + value_of(*json, "", "\"files\":") : failed(json.error());
    }
    if (step == "pull") {
        auto json = lp::pull_bundle(line.text("url"), place("to"), {}, ignore, &cancel);
        return json ? "ok" : failed(json.error());
    }
    if (step == "plan") {
        auto json = objects.runtime.plan(plan);
        if (!json) return failed(json.error());
        bool fits = json->find("\"chosen\":{") != std::string::npos;
        return "chosen=" + value_of(*json, "\"chosen\":{", "\"id\":\"") +
               (fits ? " context=" + value_of(*json, "", "\"context_tokens\":") : "");
    }
    if (step == "load") {
        bool stops = line.find("break");
        objects.model.close();
        return taken(objects.runtime.load(plan, [&](const lp::Event &) { return !stops; }, &cancel), objects.model);
    }
    if (step == "describe_model") {
        auto json = objects.model.describe();
        if (!json) return failed(json.error());
        bool decodes = json->find("\"is_decoder\":true") != std::string::npos;
        return "chosen=" + value_of(*json, "\"choice\":{", "\"id\":\"") + " decoder=" + (decodes ? "yes" : "no") +
               " vocabulary=" + value_of(*json, "", "\"n_vocab\":");
    }
    if (step == "tokenize") {
        auto tokens = objects.model.tokenize(line.text("text"));
        if (!tokens) return failed(tokens.error());
        std::string list;
        for (int32_t token : *tokens) list += (list.empty() ? "" : ",") + std::to_string(token);
        return "n=" + std::to_string(tokens->size()) + " tokens=" + list;
    }
    if (step == "detokenize") {
        std::vector<int32_t> tokens;
        std::string list = line.text("tokens") + ",";
        for (size_t from = 0, end; (end = list.find(',', from)) != std::string::npos; from = end + 1)
            tokens.push_back(static_cast<int32_t>(std::strtol(list.c_str() + from, nullptr, 10)));
        auto text = objects.model.detokenize(tokens);
        return text ? "text=" + quoted(*text) : failed(text.error());
    }
    if (step == "session") {
        lp::SessionOptions options;
        options.context_tokens = static_cast<uint32_t>(line.number("context"));
        options.when_full = static_cast<uint32_t>(line.number("when_full"));
        objects.session.close();
        return taken(objects.model.session(options), objects.session);
    }
    if (step == "generate" || step == "chat") return generate(line, objects);
    if (step == "stream" || step == "stream_chat") return stream(line, objects);
    if (step == "threads") return threads(line, objects);
    if (step == "save") {
        std::string outcome = taken(objects.session.save(), objects.state);
        return outcome == "ok" ? "ok bytes=" + std::to_string(objects.state.size()) : outcome;
    }
    if (step == "restore") {
        std::string bytes = line.text("bytes");
        auto done = objects.session.restore(bytes.empty() ? objects.state : std::vector<uint8_t>(bytes.begin(), bytes.end()));
        return done ? "ok" : failed(done.error());
    }
    if (step == "fork") return taken(objects.session.fork(), objects.session);
    if (step == "adapter") return taken(objects.model.load_adapter(place("path")), objects.adapter);
    if (step == "embedder") {
        lp::EmbedOptions options;
        options.max_tokens = static_cast<uint32_t>(line.number("max"));
        return taken(objects.model.embedder(options), objects.embedder);
    }
    if (step == "embed") {
        auto values = objects.embedder.embed(line.text("text"), &cancel);
        if (!values) return failed(values.error());
        double square = 0;
        for (float value : *values) square += static_cast<double>(value) * value;
        return "n=" + std::to_string(values->size()) + " length=" + decimals(std::sqrt(square), 2) +
               " first=" + decimals((*values)[0], 4);
    }
    if (step == "report") {
        lp::Signals signals;
        signals.heat = static_cast<int32_t>(line.number("heat", -1));
        size_t changes = 0;
        auto done = objects.model.report(signals, [&](const lp::Event &) { changes++; });
        return done ? "changes=" + std::to_string(changes) : failed(done.error());
    }
    if (step == "watch") {
        auto watch = objects.model.watch(std::chrono::seconds(1), ignore);
        return watch ? "ok" : failed(watch.error());
    }
    if (step == "tune") {
        lp::TuneOptions options;
        options.budget_s = line.number("budget", 12);
        auto json = objects.runtime.tune(objects.model, options, ignore, &cancel);
        return json ? json->find("\"setting\":{") != std::string::npos ? "ok" : *json : failed(json.error());
    }
    if (step == "requantize") {
        lp::RequantizeOptions options;
        options.precision = line.text("precision");
        options.text = "Once upon a time there was a little girl who lived in a small house near the forest. One day she went out "
                       "to play with her friend Tom. They ran and jumped and laughed in the sun. Then it was time to go home. Her "
                       "mum was happy to see her and gave her a big hug and a red apple. She ate it and went to bed.";
        options.n_ctx = 32, options.max_windows = 2, options.max_kld = 5.0, options.wait_for_mains = false;
        auto json = objects.runtime.requantize(options, ignore, &cancel);
        return json ? "published=" + value_of(*json, "\"published\":{", "\"id\":\"") : failed(json.error());
    }
    if (step == "quantize") {
        lp::QuantizeOptions options;
        options.format = line.text("format");
        if (line.find("precision")) options.precisions = {line.text("precision")};
        if (line.find("size")) options.target_bytes = {std::strtoull(line.text("size").c_str(), nullptr, 10)};
        options.allow_requantize = line.find("allow"), options.dry_run = line.find("dry");
        options.n_threads = 1;
        auto json = lp::quantize(place("model"), place("to"), options, ignore, &cancel);
        return json ? "made=" + value_of(*json, "\"variants\":[{", "\"id\":\"") : failed(json.error());
    }
    if (step == "close") {
        if (line.is("what", "session")) objects.session.close();
        if (line.is("what", "model")) objects.model.close();
        if (line.is("what", "runtime")) objects.runtime.close();
        return "ok";
    }
    if (step == "panic") {
        lp_error *error = nullptr;
        lp_status status = lp_test_panic(&error);
        return status == LP_OK ? "ok" : failed(lp::detail::taken(status, error));
    }
    return "unknown step";
}

} // namespace

int main(int argc, char **argv) {
    std::ifstream table(argc == 3 ? argv[1] : "");
    if (!table) {
        std::cerr << "usage: scenarios TABLE FILES\n";
        return 2;
    }
    auto objects = std::make_unique<Objects>();
    std::string text, scenario;
    while (std::getline(table, text)) {
        if (text.empty() || text[0] == '#') continue;
        Line line = parse(text);
        if (line.scenario != scenario) {
            objects = std::make_unique<Objects>();
            scenario = line.scenario;
        }
        std::cout << line.scenario << '\t' << line.step << '\t' << run(line, *objects, argv[2]) << std::endl;
    }
    objects.reset();
    if (size_t left = lp_live_objects()) {
        std::cerr << left << " objects were not freed\n";
        return 1;
    }
    return 0;
}
