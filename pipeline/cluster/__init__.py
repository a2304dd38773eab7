"""The only room that starts or joins Ray, with equal workers for independent tasks."""
