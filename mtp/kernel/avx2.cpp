// The same kernel for x86-64 with AVX2 and FMA; used only where the processor has both.
#include <cstdlib>

#include "tables.hpp"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define MTP_WIDE
namespace mtp {
namespace avx2 {
#include "vectors.hpp"
#include "site.hpp"
#include "graph.hpp"
#include "passes.hpp"
#include "loss.hpp"
#include "jacobian.hpp"
}  // namespace avx2
}  // namespace mtp

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const mtp::Kernel &mtp::avx2_kernel() {
    static const Kernel kernel{avx2::evaluate, avx2::loss_gradient, avx2::site_rows,
                               avx2::configuration_rows};
    return kernel;
}
#else
const mtp::Kernel &mtp::avx2_kernel() { return baseline_kernel(); }
#endif
