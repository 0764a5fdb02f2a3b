// Fills the table of functions of products on the sphere for one instruction set. Included once by each csrc/cpu/sphere_*.cpp.
#include "../core/sphere_product.h"
#include "sphere.h"

namespace equitools {
namespace EQUITOOLS_ISA {

static constexpr Sphere sphere_table = {{Simd<float>::W, sphere_scratch<float>, sphere_product<float>},
                                        {Simd<double>::W, sphere_scratch<double>, sphere_product<double>}};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
