// A many-body network as one operation: the energies of nodes, and the gradient of their sum by the edge vectors, without
// autograd. equitools/models/compiled.py makes its arguments.
#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "../cpu/radial.h"
#include "../cpu/radial_network.h"
#include "functions.h"
#include "pages.h"

namespace equitools {
namespace {

using Numbers = std::vector<int64_t>;

// Takes the arguments one after the other.
struct Arguments {
  const std::vector<Tensor>& tensors;
  const Numbers& numbers;
  size_t tensor = 0, number = 0;

  Tensor next_tensor() {
    STD_TORCH_CHECK(tensor < tensors.size(), "many_body_energy: the list of tensors ends too early");
    return dense(tensors[tensor++]);
  }
  int64_t next() {
    STD_TORCH_CHECK(number < numbers.size(), "many_body_energy: the list of numbers ends too early");
    return numbers[number++];
  }
  Numbers next_list() {
    const int64_t n = next();
    STD_TORCH_CHECK(0 <= n && n <= int64_t(numbers.size() - number), "many_body_energy: a list of ", n, " numbers");
    Numbers list(numbers.begin() + number, numbers.begin() + number + n);
    number += n;
    return list;
  }
};

struct LinearMap {
  Tensor weight;
  Numbers table;

  explicit LinearMap(Arguments& a) : weight(a.next_tensor()), table(a.next_list()) {}
  Tensor operator()(const Tensor& x, const std::optional<Tensor>& species = std::nullopt) const {
    return linear(x, weight, species, table, false, false);
  }
  Tensor adjoint(const Tensor& g, const std::optional<Tensor>& species = std::nullopt) const {
    return linear(g, weight, species, table, false, true);
  }
};

constexpr int64_t kNetwork = 0, kTable = 1;
constexpr int64_t kMostWidth = 1 << 20;  // of a radial layer: products of widths do not overflow

// One layer; the tensors are its weights, ready for use.
struct Layer {
  bool first, residual;
  int64_t conv_dim, product_dim, edge_weights;
  LinearMap up;
  Numbers widths;  // of the hidden radial layers
  Tensor radial;   // their matrices; or the table of weights
  Tensor last;     // what makes weights of the hidden layer; with a table: not used
  ConvTensors conv;
  LinearMap mix;
  Tensor weights, program, values;
  LinearMap product;
  std::optional<LinearMap> skip;

  Layer(Arguments& a, bool first_)
      : first(first_),
        residual(a.next() != 0),
        conv_dim(a.next()),
        product_dim(a.next()),
        edge_weights(a.next()),
        up(a),
        widths(a.next_list()),
        radial(a.next_tensor()),
        last(a.next_tensor()),
        conv{a.next_tensor(), a.next_tensor(), a.next_tensor(), a.next_tensor()},
        mix(a),
        weights(a.next_tensor()),
        program(a.next_tensor()),
        values(a.next_tensor()),
        product(a),
        skip(residual ? std::optional<LinearMap>(LinearMap(a)) : std::nullopt) {}

  // What the backward needs of the forward.
  struct Kept {
    Tensor x, hidden, tangent, mixed;
  };
};

template <typename T>
int64_t padded_columns(int64_t n) {
  return padded<T>(n);
}

// Rows of a table, by species.
template <typename T>
Tensor rows_of(const Tensor& table, const Tensor& species) {
  const int64_t N = species.size(0), C = table.size(1), S = table.size(0);
  Tensor out = torch::stable::new_empty(table, {N, C});
  const T* from = table.const_data_ptr<T>();
  const int64_t* s = species.const_data_ptr<int64_t>();
  T* to = out.mutable_data_ptr<T>();
  for (int64_t i = 0; i < N; ++i) {
    STD_TORCH_CHECK(0 <= s[i] && s[i] < S, "species must lie in 0 to ", S - 1, ", one is ", s[i]);
    for (int64_t c = 0; c < C; ++c) to[i * C + c] = from[s[i] * C + c];
  }
  return out;
}

template <typename T>
void add_to(Tensor& sum, const Tensor& term) {
  STD_TORCH_CHECK(sum.numel() == term.numel(), "many_body_energy: sizes that do not fit");
  T* a = sum.mutable_data_ptr<T>();
  const T* b = term.const_data_ptr<T>();
  torch::stable::parallel_for(0, sum.numel(), 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) a[i] += b[i];
  });
}

// hidden and tangent [E, K] of the distances, by the radial network; basis and its slope are given.
template <typename T>
std::tuple<Tensor, Tensor> radial_functions(const Layer& layer, const Tensor& r, const Tensor& basis,
                                            const Tensor& slope) {
  const int64_t E = r.size(0);
  const auto& kernels = radial_networks_of<T>();
  RadialNetwork net{int(layer.widths.size()) - 1, {}};
  STD_TORCH_CHECK(net.layers >= 0 && net.layers <= kMaxRadialLayers, "a radial network of ", net.layers,
                  " hidden layers");
  int64_t needed = 0;
  for (size_t i = 0; i < layer.widths.size(); ++i) {
    STD_TORCH_CHECK(0 < layer.widths[i] && layer.widths[i] <= kMostWidth, "a radial layer of ", layer.widths[i],
                    " channels");
    net.widths[i] = int(layer.widths[i]);
    if (i) needed += layer.widths[i - 1] * padded_columns<T>(layer.widths[i]);
  }
  STD_TORCH_CHECK(layer.radial.numel() == needed && basis.size(1) == layer.widths[0],
                  "the radial network's matrices do not fit its widths");
  const int64_t K = layer.widths.back();
  Tensor hidden = fresh(r, E, K), tangent = fresh(r, E, K);
  const T *w = layer.radial.const_data_ptr<T>(), *b = basis.const_data_ptr<T>(), *s = slope.const_data_ptr<T>();
  T *h = hidden.mutable_data_ptr<T>(), *d = tangent.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, E, 4 * kRadialTile, [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(kernels.scratch(net));
    kernels.network(net, w, b, s, h, d, scratch.data(), begin, end);
  });
  return {hidden, tangent};
}

// The energies linear . s + silu(s W + b) . v + c of scalars s, and their gradients.
template <typename T>
struct Readout {
  Tensor linear, weight, bias, outer, offset;

  explicit Readout(Arguments& a)
      : linear(a.next_tensor()),
        weight(a.next_tensor()),
        bias(a.next_tensor()),
        outer(a.next_tensor()),
        offset(a.next_tensor()) {}

  void operator()(const std::vector<T>& scalars, int64_t N, T* energy, T* gradient) const {
    const int64_t C = linear.numel(), H = outer.numel();
    STD_TORCH_CHECK(weight.numel() == C * H && bias.numel() == H && offset.numel() == 1,
                    "many_body_energy: the readout's matrices do not fit");
    const T *l = linear.const_data_ptr<T>(), *w = weight.const_data_ptr<T>(), *b = bias.const_data_ptr<T>();
    const T *v = outer.const_data_ptr<T>(), c = *offset.const_data_ptr<T>();
    torch::stable::parallel_for(0, N, 64, [&](int64_t begin, int64_t end) {
      std::vector<T> z(H);
      for (int64_t i = begin; i < end; ++i) {
        const T* s = scalars.data() + i * C;
        T e = c;
        for (int64_t h = 0; h < H; ++h) z[h] = b[h];
        for (int64_t k = 0; k < C; ++k) {
          e += l[k] * s[k];
          for (int64_t h = 0; h < H; ++h) z[h] += s[k] * w[k * H + h];
        }
        for (int64_t h = 0; h < H; ++h) {
          const T sigmoid = T(1) / (T(1) + std::exp(-z[h]));
          e += v[h] * z[h] * sigmoid;
          z[h] = v[h] * sigmoid * (T(1) + z[h] * (T(1) - sigmoid));
        }
        energy[i] = e;
        if (gradient)
          for (int64_t k = 0; k < C; ++k) {
            T g = l[k];
            for (int64_t h = 0; h < H; ++h) g += w[k * H + h] * z[h];
            gradient[i * C + k] = g;
          }
      }
    });
  }
};

template <typename T>
std::tuple<Tensor, Tensor> evaluate(const Tensor& vectors, const Tensor& edge_index, const Tensor& species,
                                    Arguments& a, double cutoff, double scale, bool gradient, Tensor workspace) {
  const int64_t E = vectors.size(0), N = species.size(0);
  for (const Tensor& t : a.tensors)
    STD_TORCH_CHECK(t.scalar_type() == vectors.scalar_type() || t.scalar_type() == ScalarType::Long ||
                        t.scalar_type() == ScalarType::Int,
                    "the vectors and the weights must have the same dtype");
  const int64_t layers = a.next(), lmax = a.next(), functions = a.next(), envelope = a.next(), mode = a.next(),
                channels = a.next();
  STD_TORCH_CHECK(layers > 0 && layers < 1000 && channels > 0, "many_body_energy: ", layers, " layers");
  STD_TORCH_CHECK(functions > 0 && functions <= kMaxRadial && envelope >= 2 && envelope <= kMaxEnvelope,
                  "many_body_energy: ", functions, " radial functions, envelope ", envelope);
  STD_TORCH_CHECK(mode == kNetwork || mode == kTable, "many_body_energy: mode ", mode);
  const Tensor embedding = a.next_tensor();
  STD_TORCH_CHECK(embedding.dim() == 2 && embedding.size(1) == channels, "the embedding must be [species, channels]");
  std::vector<Layer> net;
  for (int64_t k = 0; k < layers; ++k) net.emplace_back(a, k == 0);
  const Readout<T> readout(a);

  // Lengths, radial functions, harmonics.
  Tensor r = torch::stable::new_empty(vectors, {E});
  const T* v = vectors.const_data_ptr<T>();
  T* rp = r.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, E, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e)
      rp[e] = std::sqrt(v[3 * e] * v[3 * e] + v[3 * e + 1] * v[3 * e + 1] + v[3 * e + 2] * v[3 * e + 2]);
  });
  Tensor basis = r, slope = r;
  if (mode == kNetwork) {
    basis = fresh(r, E, functions);
    slope = fresh(r, E, functions);
    const RadialSpec spec{int(functions), int(envelope), cutoff, scale};
    T *b = basis.mutable_data_ptr<T>(), *s = slope.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, E, 1024, [&](int64_t begin, int64_t end) {
      radial_of<T>().value(spec, rp, b, s, begin, end);
    });
  }
  const Tensor y = spherical_harmonics(vectors, lmax, true, 0);
  // Y_0 is constant, and tables are zero where a length is not below the cutoff: what is no number must stay visible.
  T* yp = y.mutable_data_ptr<T>();
  const int64_t components = y.size(1);
  torch::stable::parallel_for(0, E, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e)
      if (!(rp[e] - rp[e] == T(0))) yp[e * components] = rp[e] - rp[e];
  });

  // Forward.
  // Where the weights of all edges fit into the workspace, the backward reads them; else it makes them once more.
  std::vector<void*> weights(layers, nullptr);
  int64_t row = 0;
  const int64_t rows = mode == kTable ? 2 * E : E;  // a table gives slopes, too
  for (const Layer& layer : net) row += kept_row(layer.conv.paths);
  if (gradient && E > 0 && row <= workspace.numel() / rows) {
    T* at = workspace.mutable_data_ptr<T>();
    for (int64_t k = 0; k < layers; ++k) {
      weights[k] = at;
      at += rows * kept_row(net[k].conv.paths);
    }
  }

  std::vector<Layer::Kept> kept;
  std::vector<T> scalars(size_t(N) * layers * channels);
  Tensor features = rows_of<T>(embedding, species);  // of the layer before
  for (int64_t k = 0; k < layers; ++k) {
    const Layer& layer = net[k];
    const Tensor x = layer.up(features);
    Tensor hidden = r, tangent = r;
    if (mode == kNetwork) std::tie(hidden, tangent) = radial_functions<T>(layer, r, basis, slope);
    const Tensor message =
        mode == kTable ? tabulated_tensor_product_conv(x, y, r, layer.radial, cutoff, layer.edge_weights, edge_index, N,
                                                       layer.conv_dim, layer.conv, weights[k])
                       : radial_tensor_product_conv(x, y, hidden, layer.last, edge_index, N, layer.conv_dim, layer.conv,
                                                      weights[k]);
    const Tensor mixed = layer.mix(message);
    STD_TORCH_CHECK(mixed.size(1) % channels == 0, "many_body_energy: the channels do not divide the features");
    const Tensor cubes = torch::stable::view(mixed, {N, mixed.size(1) / channels, channels});
    const Tensor many = symmetric_contraction(cubes, layer.weights, species, layer.program, layer.values,
                                              layer.product_dim);
    Tensor out = layer.product(torch::stable::view(many, {N, layer.product_dim * channels}));
    if (layer.skip) add_to<T>(out, (*layer.skip)(features, species));
    STD_TORCH_CHECK(layer.product_dim > 0 && out.dim() == 2 && out.size(1) >= channels,
                    "many_body_energy: a layer has fewer columns than channels");
    kept.push_back({x, hidden, tangent, cubes});
    features = out;
    const T* f = out.const_data_ptr<T>();
    const int64_t width = out.size(1);
    for (int64_t i = 0; i < N; ++i)
      for (int64_t c = 0; c < channels; ++c) scalars[(i * layers + k) * channels + c] = f[i * width + c];
  }
  Tensor energy = torch::stable::new_empty(r, {N});
  std::vector<T> ds(gradient ? scalars.size() : 0);
  readout(scalars, N, energy.mutable_data_ptr<T>(), gradient ? ds.data() : nullptr);
  if (!gradient) return {energy, torch::stable::new_empty(vectors, {0, 3})};

  // Backward.
  std::optional<Tensor> dy;  // of all layers so far
  Tensor dr = torch::stable::new_zeros(r, {E});
  T* drp = dr.mutable_data_ptr<T>();
  std::optional<Tensor> from_above;
  for (int64_t k = layers - 1; k >= 0; --k) {
    const Layer& layer = net[k];
    Layer::Kept& keep = kept[k];
    Tensor g = from_above ? *from_above : torch::stable::new_zeros(r, {N, layer.product_dim * channels});
    T* gp = g.mutable_data_ptr<T>();
    const int64_t width = g.size(1);
    for (int64_t i = 0; i < N; ++i)
      for (int64_t c = 0; c < channels; ++c) gp[i * width + c] += ds[(i * layers + k) * channels + c];
    std::optional<Tensor> below;
    if (layer.skip && !layer.first) below = layer.skip->adjoint(g, species);
    const Tensor many = layer.product.adjoint(g);
    const Tensor mixed = symmetric_contraction_backward(
        keep.mixed, layer.weights, species, torch::stable::view(many, {N, layer.product_dim, channels}), layer.program,
        layer.values);
    const Tensor message = layer.mix.adjoint(torch::stable::view(mixed, {N, mixed.size(1) * mixed.size(2)}));
    auto [dx, dyk, dh] =
        mode == kTable
            ? tabulated_tensor_product_conv_backward(message, keep.x, y, r, layer.radial, cutoff, layer.edge_weights,
                                                     edge_index, layer.conv, !layer.first, weights[k])
            : radial_tensor_product_conv_backward(message, keep.x, y, keep.hidden, layer.last, edge_index, layer.conv,
                                                  !layer.first, weights[k]);
    if (dy)
      add_to<T>(*dy, dyk);
    else
      dy = dyk;
    if (mode == kTable) add_to<T>(dr, dh);
    const int64_t K = mode == kTable ? 0 : keep.hidden.size(1);
    const T* h = dh.const_data_ptr<T>();
    const T* t = keep.tangent.const_data_ptr<T>();
    torch::stable::parallel_for(0, E, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {
        T sum = 0;
        for (int64_t i = 0; i < K; ++i) sum += h[e * K + i] * t[e * K + i];
        drp[e] += sum;
      }
    });
    if (!layer.first) {
      Tensor through = layer.up.adjoint(dx);
      if (below) add_to<T>(through, *below);
      from_above = through;
    }
    keep = {r, r, r, r};  // its memory goes back
  }
  Tensor out = spherical_harmonics_vjp(vectors, *dy, lmax, true, 0);
  T* o = out.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, E, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; ++e) {
      const T along = rp[e] > T(0) ? drp[e] / rp[e] : T(0);
      for (int i = 0; i < 3; ++i) o[3 * e + i] += along * v[3 * e + i];
    }
  });
  return {energy, out};
}

std::tuple<Tensor, Tensor> many_body_energy(const Tensor& vectors_, const Tensor& edge_index, const Tensor& species_,
                                            const std::vector<Tensor> tensors, const Numbers numbers, double cutoff,
                                            double scale, bool gradient, const Tensor workspace) {
  const Tensor vectors = dense(vectors_), species = dense(species_);
  check_floating(vectors, "vectors");
  STD_TORCH_CHECK(vectors.dim() == 2 && vectors.size(1) == 3, "vectors must be [E, 3]");
  STD_TORCH_CHECK(species.dim() == 1 && species.scalar_type() == ScalarType::Long, "species must be int64 [N]");
  STD_TORCH_CHECK(edge_index.dim() == 2 && edge_index.size(0) == 2 && edge_index.size(1) == vectors.size(0),
                  "edge_index must be int64 [2, E]");
  STD_TORCH_CHECK(cutoff > 0, "the cutoff must be positive");
  STD_TORCH_CHECK(workspace.scalar_type() == vectors.scalar_type() && workspace.is_contiguous(),
                  "the workspace must have the dtype of the vectors, in one piece");
  Arguments a{tensors, numbers};
  if (vectors.scalar_type() == ScalarType::Float)
    return evaluate<float>(vectors, edge_index, species, a, cutoff, scale, gradient, workspace);
  return evaluate<double>(vectors, edge_index, species, a, cutoff, scale, gradient, workspace);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(equitools, m) {
  m.def(
      "many_body_energy(Tensor vectors, Tensor edge_index, Tensor species, Tensor[] tensors, int[] numbers, "
      "float cutoff, float scale, bool gradient, Tensor(a!) workspace) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(equitools, CPU, m) { m.impl("many_body_energy", TORCH_BOX(&many_body_energy)); }

}  // namespace equitools
