"""CompileModel: the backbone trains as torch.compile makes it; evaluations and predictions run as they are."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class CompileModel(Callback):
    """Compiles the backbone for lengths that change from batch to batch, its dropout drawn as without it.

    So runs with different norms stay paired; a run with it is not bit for bit one without it. The head and the loss
    stay outside, and so does evaluation, whose beams would be compiled again and again.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile, which takes place at the first updates."""
        torch._inductor.config.fallback_random = True
        torch._dynamo.config.skip_nnmodule_hook_guards = False  # norms are watched by hooks that come and go
        torch.compiler.set_stance("default")
        pl_module.model.compile(dynamic=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate uncompiled."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on compiled."""
        torch.compiler.set_stance("default")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate uncompiled."""
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave torch as it was."""
        torch.compiler.set_stance("default")
        torch._inductor.config.fallback_random = False
        torch._dynamo.config.skip_nnmodule_hook_guards = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Likewise."""
        self.teardown(trainer, pl_module, "exception")
