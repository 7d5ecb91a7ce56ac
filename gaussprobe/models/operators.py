"""Which operators a program from a file may call: those that only make tensors and numbers out of tensors and
numbers.

A program is data that runs. `torch.from_file(path, True, n)` creates that file, `print` writes into what the
command prints, an operator of a library does whatever the library does. So every name a program calls has to
pass here, before anything of it is built:

- operators of the `aten` namespace, if none of their overloads takes or gives anything but tensors, numbers,
  flags, dtypes, devices and generators. An operator that takes text (a path is text) passes only by name, one
  that begins with an underscore (internal, often without checks of its arguments) too;
- a short list of `prim` operators, of Python's `operator` and `math` functions;
- nothing else: no other namespace, no custom class, no other function.
"""

from __future__ import annotations

import re
from functools import cache

import torch

# Operators with pure signatures that still act on something else than their arguments.
_REFUSED = frozenset(
    "from_file save backward dist_backward wait record_stream set_ set_data resize_ resize_as_ "
    "resize_as_sparse_ sym_storage_offset retain_grad promote_types".split()
)
_REFUSED_PREFIXES = ("fbgemm_", "cudnn_", "miopen_", "mkldnn_", "mps_", "quantized_")
# Operators of tensors that take text: modes, reductions, equations, messages.
_TEXT_OF_TENSORS = frozenset(
    "einsum gelu gelu_ pad pad_sequence conv1d conv2d conv3d div div_ divide divide_ scatter "
    "scatter_ scatter_reduce scatter_reduce_ index_reduce index_reduce_ meshgrid quantile nanquantile "
    "linalg_norm linalg_matrix_norm linalg_cond linalg_eigh linalg_eigvalsh linalg_qr linalg_svd "
    "linalg_svdvals linalg_lstsq searchsorted stft "
    "fft_fft fft_fft2 fft_fftn fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn fft_ihfft "
    "fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn".split()
)
# Operators of text and containers, which TorchScript compiles Python's own to.
_TEXT = frozenset(
    "add eq ne lt le gt ge slice len format percentFormat str Int Float list dict ord chr hex oct bin "
    "sorted sort copy pop popitem remove clear count index get keys values items update setdefault any "
    "Delete device get_autocast_dtype warn "
    "capitalize endswith find isalnum isalpha isdecimal isdigit isidentifier islower "
    "isnumeric isprintable isspace istitle isupper join lower lstrip partition replace rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper".split()
)
_INTERNAL = frozenset(
    "__and__ __or__ __xor__ __iand__ __ior__ __ixor__ __lshift__ __rshift__ __ilshift__ __irshift__ "
    "__contains__ __derive_index __getitem__ __is__ __isnot__ __not__ __range_length "
    "__round_to_zero_floordiv __interpolate __upsample __upsample_bilinear __upsample_nearest _set_item "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _addmm_activation _assert_async _assert_scalar "
    "_assert_tensor_metadata _functional_assert_async _functional_assert_scalar _batch_norm_impl_index "
    "_cast_Byte _cast_Char _cast_Double _cast_Float _cast_Half _cast_Int _cast_Long _cast_Short "
    "_cdist_forward _conj _conj_physical _convolution _convolution_mode _dim_arange _embedding_bag "
    "_euclidean_dist _fft_c2c _fft_c2r _fft_r2c _get_tracing_state _infer_size _is_all_true _is_any_true "
    "_list_to_tensor _local_scalar_dense _log_softmax _logcumsumexp _native_batch_norm_legit "
    "_native_batch_norm_legit_functional _native_batch_norm_legit_no_training _native_multi_head_attention "
    "_batch_norm_no_update _batch_norm_with_update _no_grad_embedding_renorm_ _pack_padded_sequence "
    "_pad_packed_sequence _pack_sequence _pad_circular _pad_enum _prelu_kernel _reshape_alias _safe_softmax "
    "_scaled_dot_product_attention_math _scaled_dot_product_flash_attention "
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
    "_shape_as_tensor _size_if_not_equal _softmax _stack _tensor_to_list _to_copy _trilinear "
    "_transformer_encoder_layer_fwd _unique _unique2 _unsafe_index _unsafe_view _unwrap_optional "
    "_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d _weight_norm _weight_norm_interface".split()
)
_PRIM = frozenset(
    "RaiseException NumToTensor EnumName EnumValue ModuleContainerIndex StringIndex TupleIndex TupleUnpack "
    "Uninitialized abs data device dtype index is_cpu is_cuda is_ipu is_maia is_meta is_mkldnn is_mps "
    "is_mtia is_nested is_quantized is_sparse is_sparse_csr is_vulkan is_xla is_xpu itemsize layout max min "
    "name nbytes rangelist requires_grad tolist type unchecked_cast unchecked_unwrap_optional shape".split()
)
# What programs of torch.export call besides operators, on sizes.
_OPERATOR = frozenset("add sub mul truediv floordiv mod pow neg pos eq ne lt le gt ge and_ or_ not_".split())
_MATH = frozenset("ceil floor trunc sqrt".split())
_SYM = frozenset("sym_not sym_max sym_min sym_int sym_float sym_ite sym_sum".split())

_PLAIN = (
    r"Tensor|int|bool|float|number|complex|Device|Generator|AnyEnumType|t|t1|t2|tVal|QScheme"
    r"|Layout|MemoryFormat|ScalarType"
)
_ATOMS = re.compile(rf"({_PLAIN})")
_TEXT_ATOMS = re.compile(rf"({_PLAIN}|str)")
_WRAPPERS = re.compile(r"\b(Optional|List|Tuple|Dict)\b|[\[\], ]+")


@cache
def _signatures() -> dict[str, frozenset[str]]:
    """Types that the overloads of each `aten` operator take and give, by its name."""
    found: dict[str, set[str]] = {}
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        if namespace == "aten":
            types = found.setdefault(name, set())
            for each in (*schema.arguments, *schema.returns):
                types.update(part for part in _WRAPPERS.sub(" ", str(each.type)).split(" ") if part)
    return {name: frozenset(types) for name, types in found.items()}


def is_operator(name: str) -> bool:
    """Whether the installed torch knows an `aten` operator of that name."""
    return name in _signatures()


@cache
def allows_aten(name: str) -> bool:
    """Whether a program may call the `aten` operator of that name.

    Args:
        name: without namespace and overload, such as `conv2d`.
    """
    types = _signatures().get(name)
    if types is None or name in _REFUSED or name.startswith(_REFUSED_PREFIXES):
        return False
    # No forward pass needs them, and their kernels trust shapes that only autograd gets right.
    if "backward" in name:
        return False
    if name.startswith("_"):
        return name in _INTERNAL
    if name in _TEXT or name in _TEXT_OF_TENSORS:
        return True
    return all(_ATOMS.fullmatch(each) is not None for each in types)


def allows_prim(name: str) -> bool:
    """Whether a program may call the `prim` operator of that name."""
    return name in _PRIM


def allows_target(target: str) -> bool:
    """Whether a program of torch.export may call what it names, such as `torch.ops.aten.conv2d.default`."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", target, re.ASCII):
        return False
    owner, _, name = target.partition(".")
    if owner in ("operator", "_operator"):
        return name in _OPERATOR
    if owner == "math":
        return name in _MATH
    parts = target.split(".")
    if parts[:3] == ["torch", "ops", "aten"] and len(parts) == 5:
        return allows_aten(parts[3])
    return len(parts) == 2 and owner == "torch" and name in _SYM
