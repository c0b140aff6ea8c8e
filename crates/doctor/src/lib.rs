//! Why the network of pods is down: facts read from kernels and files, checks as rows, paths followed hop by hop.
