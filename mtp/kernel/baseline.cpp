// The kernel for any processor: the compiler splits the four-lane vectors into what there is.
#include <cstdlib>

#include "tables.hpp"

namespace mtp {
namespace baseline {
#include "vectors.hpp"
#include "site.hpp"
#include "graph.hpp"
#include "passes.hpp"
#include "loss.hpp"
#include "jacobian.hpp"
}  // namespace baseline

const Kernel &baseline_kernel() {
    static const Kernel kernel{baseline::evaluate, baseline::loss_gradient, baseline::site_rows,
                               baseline::configuration_rows};
    return kernel;
}
}  // namespace mtp
