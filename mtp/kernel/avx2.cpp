// The same kernel for x86-64 with AVX2 and FMA; used only where the processor has both.
#include <cstdlib>

#include "tables.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define MTP_WIDTH 4
namespace mtp {
namespace avx2 {
#include "variant.hpp"
}
}  // namespace mtp

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const mtp::Kernel &mtp::avx2_kernel() { return avx2::kernel; }
#else
const mtp::Kernel &mtp::avx2_kernel() { return baseline_kernel(); }
#endif
