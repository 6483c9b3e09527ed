// The same kernel for x86-64 with AVX-512; used only where the processor has it.
#include <cstdlib>

#include "tables.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif

#define MTP_WIDTH 8
namespace mtp {
namespace avx512 {
#include "variant.hpp"
}
}  // namespace mtp

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const mtp::Kernel &mtp::avx512_kernel() { return avx512::kernel; }
#else
const mtp::Kernel &mtp::avx512_kernel() { return baseline_kernel(); }
#endif
