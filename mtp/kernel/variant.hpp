// All of the kernel for one instruction set. Included inside the namespace of each variant.
#include "vectors.hpp"
#include "site.hpp"
#include "graph.hpp"
#include "passes.hpp"
#include "loss.hpp"
#include "jacobian.hpp"

static const Kernel kernel{evaluate, loss_gradient, site_rows, configuration_rows};
