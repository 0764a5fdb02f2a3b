// Fills the table of principal axes for one instruction set. Included once by each csrc/cpu/principal_axes_*.cpp.
#include "../core/principal_axes.h"
#include "principal_axes.h"

namespace equitools {
namespace EQUITOOLS_ISA {

template <typename T>
static constexpr PrincipalAxesOf<T> principal_axes_table_of() {
  return {Lanes<T>::W, eigh3<T>, eigh3_vjp<T>, axes<T>, axes_vjp<T>, signed_axes<T>, signed_axes_vjp<T>};
}

static constexpr PrincipalAxes principal_axes_table = {principal_axes_table_of<float>(), principal_axes_table_of<double>()};

}  // namespace EQUITOOLS_ISA
}  // namespace equitools
