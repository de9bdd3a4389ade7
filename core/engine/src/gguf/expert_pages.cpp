// Owns: mapping a file without reading it, and telling the system which of its pages are wanted. May know: llama.cpp's tensors.
// Must not know: which experts are worth keeping.
//
// llama.cpp reads the whole of a file that it maps, except on machines whose memory lies in several nodes, where it leaves
// every page to whoever touches it first. It learns of nodes from a function of the CPU backend, and finds that function by its
// name; while a sparse mapping is wanted, it is given another.

#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "llama-model.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__linux__)
#    include <sys/mman.h>
#    include <unistd.h>
#    if !defined(MADV_POPULATE_READ)
#        define MADV_POPULATE_READ 22
#    endif
#    if !defined(MADV_PAGEOUT)
#        define MADV_PAGEOUT 21
#    endif
#endif

namespace {

using FindFunction = void * (*)(ggml_backend_reg_t, const char *);
using IsNuma = bool (*)();

FindFunction find_function = nullptr;
IsNuma is_numa = nullptr;
thread_local bool sparse = false;

bool is_numa_or_sparse() {
    return sparse || (is_numa != nullptr && is_numa());
}

void * find_function_or_ours(ggml_backend_reg_t registry, const char * name) {
    void * found = find_function(registry, name);
    if (std::strcmp(name, "ggml_backend_cpu_is_numa") != 0) {
        return found;
    }
    is_numa = reinterpret_cast<IsNuma>(found);
    return reinterpret_cast<void *>(is_numa_or_sparse);
}

} // namespace

extern "C" {

// To be called when the CPU backend is registered, by one thread at a time.
void llama_pajamas_prepare_sparse_maps() {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (device == nullptr) {
        return;
    }
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    if (registry->iface.get_proc_address != nullptr && registry->iface.get_proc_address != find_function_or_ours) {
        find_function = registry->iface.get_proc_address;
        registry->iface.get_proc_address = find_function_or_ours;
    }
}

// Whether files that this thread maps are read when they are mapped.
void llama_pajamas_map_sparsely(bool on) {
    sparse = on;
}

typedef void (*llama_pajamas_weight_visitor)(void * data, const char * name, void * at, size_t bytes, size_t n_matrices,
                                             bool is_host);

// All weights of a model that lie anywhere.
bool llama_pajamas_visit_weights(const llama_model * model, llama_pajamas_weight_visitor visit, void * data) {
    try {
        for (const auto & [name, tensor] : llama_internal_get_tensor_map(model)) {
            if (tensor->data != nullptr && tensor->buffer != nullptr) {
                visit(data, name.c_str(), tensor->data, ggml_nbytes(tensor), size_t(tensor->ne[2]),
                      ggml_backend_buffer_is_host(tensor->buffer));
            }
        }
        return true;
    } catch (...) {
        return false;
    }
}

#if defined(__linux__)

// Kinds of advice; what the system does not know or refuses, stays undone.
enum : int32_t {
    READ_NOW,   // pages are there when the call returns
    READ_SOON,  // pages are being read when the call returns
    LET_GO,     // pages that lie wholly within are given back
};

bool llama_pajamas_can_page() {
    return true;
}

// The system may cut one piece of advice down to what it reads ahead of a file, 128 KiB where nobody chose more.
constexpr size_t ONE_READ = size_t(128) << 10;

void read_soon(uintptr_t first, uintptr_t last) {
    for (uintptr_t from = first; from < last; from += ONE_READ) {
        const size_t length = last - from < ONE_READ ? last - from : ONE_READ;
        (void) madvise(reinterpret_cast<void *>(from), length, MADV_WILLNEED);
    }
}

void llama_pajamas_advise(void * at, size_t bytes, int32_t advice) {
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t begin = uintptr_t(at);
    const uintptr_t end = begin + bytes;
    // What is read includes pages that others share; what is given back leaves them.
    const uintptr_t first = advice == LET_GO ? (begin + page - 1) / page * page : begin / page * page;
    const uintptr_t last = advice == LET_GO ? end / page * page : (end + page - 1) / page * page;
    if (first >= last) {
        return;
    }
    void * from = reinterpret_cast<void *>(first);
    const size_t length = last - first;
    switch (advice) {
        case READ_NOW:
            // Still without reading ahead, which would bring in experts beside; where the system takes pages back later, it may.
            read_soon(first, last);
            (void) madvise(from, length, MADV_POPULATE_READ);
            (void) madvise(from, length, MADV_NORMAL);
            break;
        case READ_SOON:
            read_soon(first, last);
            break;
        case LET_GO:
            // The first gives memory back to the system, of files that this process may write to or owns; the second takes
            // pages of others out of the process, and the system takes them when it needs them.
            (void) madvise(from, length, MADV_PAGEOUT);
            (void) madvise(from, length, MADV_DONTNEED);
            break;
        default:
            break;
    }
}

#else

bool llama_pajamas_can_page() {
    return false;
}

void llama_pajamas_advise(void *, size_t, int32_t) {}

#endif

} // extern "C"
