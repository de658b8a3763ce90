"""Files that deploy a model, one module for each target, made from the plan that runs it locally."""
