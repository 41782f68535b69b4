# mypy: ignore-errors
"""The same shop on FastAPI and httpx. `PAYMENTS` is the payment service, `CHARGES` how often it is asked."""

import os

import httpx
import uvicorn
from fastapi import FastAPI

app = FastAPI()
PAYMENTS = os.environ["PAYMENTS"]
CHARGES = int(os.environ.get("CHARGES", "1"))


@app.post("/orders/{number}")
async def create(number: int):
    async with httpx.AsyncClient(timeout=30) as client:
        status = [(await client.post(f"{PAYMENTS}/charges/{number}", json={"amount": 5})).status_code for _ in range(CHARGES)]
    return {"id": number, "charged": status}


@app.get("/ready")
async def ready():
    return "ready"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
