// Fills the table of functions of products on the sphere for one instruction set. Included once by each csrc/cpu/sphere_*.cpp.
#include "../core/sphere_power.h"
#include "sphere.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr SphereOf<T> sphere_functions = {Simd<T>::W,          sphere_scratch<T>, sphere_product<T>,
                                                 sphere_power_scratch<T>, sphere_powers<T>,  sphere_powers_pull<T>};

static constexpr Sphere sphere_table = {sphere_functions<float>, sphere_functions<double>};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
