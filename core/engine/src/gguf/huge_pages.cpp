// Owns: asking the system for huge pages under rearranged weights. May know: ggml's types of buffers. Must not know: what
// is in them.
//
// Weights that ggml has rearranged lie in memory of their own and are read from one end to the other for every token: with
// 4 KiB pages a processor walks its page tables all the time, twice as far in a virtual machine. Systems that hand out huge
// pages only to who asks for them (the usual setting of Linux) are asked here, before a buffer is first touched. ggml has no
// setting for that, but each type of buffer has a function that allocates. Caches and activations stay on small pages: with
// two threads prompts took 4 % longer where these, too, lay on huge ones.

#include "ggml-backend-impl.h"
#include "ggml-backend.h"

#if defined(__linux__)
#    include <sys/mman.h>
#    include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>

namespace {

#if defined(__linux__) && defined(MADV_HUGEPAGE)

// Smaller buffers would gain little, and be rounded up to a huge page, 2 MiB on most processors.
constexpr size_t SMALLEST_BYTES = size_t(8) << 20;

using Allocate = ggml_backend_buffer_t (*)(ggml_backend_buffer_type_t, size_t);

// The types that are advised, and how they allocate. A backend for processors has one or two.
struct Advised {
    ggml_backend_buffer_type_t type;
    Allocate allocate;
};
constexpr size_t MOST = 8;
Advised advised[MOST];
size_t n_advised = 0;

ggml_backend_buffer_t allocate_advised(ggml_backend_buffer_type_t type, size_t bytes) {
    size_t index = 0;
    while (advised[index].type != type) {
        index++;
    }
    ggml_backend_buffer_t buffer = advised[index].allocate(type, bytes);
    if (buffer == nullptr || bytes < SMALLEST_BYTES) {
        return buffer;
    }
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t start = (uintptr_t(ggml_backend_buffer_get_base(buffer)) + page - 1) / page * page;
    const uintptr_t end = (uintptr_t(ggml_backend_buffer_get_base(buffer)) + bytes) / page * page;
    // Advice: where it is refused, the buffer has small pages as before.
    (void) madvise(reinterpret_cast<void *>(start), end - start, MADV_HUGEPAGE);
    return buffer;
}

#endif

} // namespace

// To be called when the CPU backend is registered and no buffer allocated, by one thread at a time.
extern "C" void llama_pajamas_ask_for_huge_pages() {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) {
        return;
    }
    const auto list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
    ggml_backend_buffer_type_t * types = list == nullptr ? nullptr : list(device);
    for (; types != nullptr && *types != nullptr && n_advised < MOST; types++) {
        ggml_backend_buffer_type_t type = *types;
        if (type->iface.alloc_buffer != allocate_advised) {
            advised[n_advised++] = { type, type->iface.alloc_buffer };
            type->iface.alloc_buffer = allocate_advised;
        }
    }
#endif
}
