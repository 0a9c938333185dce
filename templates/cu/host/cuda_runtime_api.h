// Stands in for CUDA's header of this name, on a CPU.
#pragma once
#include "cuda_on_host.h"
