// The kernel for any processor: the compiler splits the four-lane vectors into what there is.
#include <cstdlib>

#include "tables.hpp"

namespace mtp {
namespace baseline {
#include "variant.hpp"
}
const Kernel &baseline_kernel() { return baseline::kernel; }
}  // namespace mtp
