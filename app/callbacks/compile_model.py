"""CompileModel: trains with the compiled backbone; evaluation and prediction run eagerly."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class CompileModel(Callback):
    """Compiles the backbone for sequence lengths that change from batch to batch, with the same dropout as without.

    Runs with different norms stay paired; a compiled run differs from an eager one in its last bits. The head, the loss
    and evaluation, whose beams would trigger recompilation, stay eager.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set up compilation, which happens during the first updates."""
        torch._inductor.config.fallback_random = True
        torch._dynamo.config.skip_nnmodule_hook_guards = False  # norms are watched by hooks that come and go
        torch.compiler.set_stance("default")
        pl_module.model.compile(dynamic=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate eagerly."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue training with the compiled backbone."""
        torch.compiler.set_stance("default")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate eagerly."""
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore torch's settings."""
        torch.compiler.set_stance("default")
        torch._inductor.config.fallback_random = False
        torch._dynamo.config.skip_nnmodule_hook_guards = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore torch's settings after an error, too."""
        self.teardown(trainer, pl_module, "exception")
