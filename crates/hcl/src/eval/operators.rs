//! Operators.

use kiln_spec::source::Span;

use super::{Evaluator, Fault, fault};
use crate::ast::{BinaryOp, Expr, UnaryOp};
use crate::number::Number;
use crate::scope::Scope;
use crate::types::Type;
use crate::value::Value;

impl Evaluator<'_> {
    pub(super) fn binary(
        &self,
        operator: BinaryOp,
        left: &Expr,
        right: &Expr,
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<Value, Fault> {
        use BinaryOp::{And, Equal, NotEqual, Or};
        let (a, b) = (self.evaluate(left, scope)?, self.evaluate(right, scope)?);
        let marked = a.has_marks() || b.has_marks();
        if matches!(operator, Equal | NotEqual) {
            if !a.is_wholly_known() || !b.is_wholly_known() {
                return Ok(Value::unknown(Type::Bool).marked(marked));
            }
            self.step(a.size(1 << 20) / 16, span)?;
            return Ok(Value::from(a.same(&b) == (operator == Equal)).marked(marked));
        }
        let operand = if matches!(operator, And | Or) { Type::Bool } else { Type::Number };
        let result = match operator {
            And | Or | BinaryOp::Less | BinaryOp::LessOrEqual | BinaryOp::Greater | BinaryOp::GreaterOrEqual => {
                Type::Bool
            }
            _ => Type::Number,
        };
        let (a, b) = (self.operand(&a, &operand, left.span)?, self.operand(&b, &operand, right.span)?);
        let (Some(a), Some(b)) = (a, b) else { return Ok(Value::unknown(result).marked(marked)) };
        let value = match (a.as_bool(), b.as_bool(), a.as_number(), b.as_number()) {
            (Some(a), Some(b), ..) => Value::from(if operator == And { a && b } else { a || b }),
            (_, _, Some(a), Some(b)) => arithmetic(operator, a, b, right.span, span)?,
            _ => return fault("WrongType", span, "operands must be numbers or true or false"),
        };
        Ok(value.marked(marked))
    }

    /// An operand as `ty`; none when not known yet.
    fn operand(&self, value: &Value, ty: &Type, span: Span) -> Result<Option<Value>, Fault> {
        if value.is_null() {
            return fault("NullOperand", span, "an operand must not be null");
        }
        let value = self.convert(value, ty, span)?;
        Ok((!value.is_unknown()).then_some(value))
    }

    pub(super) fn unary(&self, operator: UnaryOp, operand: &Expr, scope: &Scope<'_>) -> Result<Value, Fault> {
        let value = self.evaluate(operand, scope)?;
        let ty = if operator == UnaryOp::Not { Type::Bool } else { Type::Number };
        let marked = value.sensitive;
        let Some(value) = self.operand(&value, &ty, operand.span)? else {
            return Ok(Value::unknown(ty).marked(marked));
        };
        let result = match (value.as_bool(), value.as_number()) {
            (Some(flag), _) => Value::from(!flag),
            (_, Some(number)) => Value::from(number.neg()),
            _ => return fault("WrongType", operand.span, "the operand must be a number or true or false"),
        };
        Ok(result.marked(marked))
    }
}

fn arithmetic(operator: BinaryOp, a: &Number, b: &Number, divisor: Span, span: Span) -> Result<Value, Fault> {
    let number = match operator {
        BinaryOp::Less => return Ok((a < b).into()),
        BinaryOp::LessOrEqual => return Ok((a <= b).into()),
        BinaryOp::Greater => return Ok((a > b).into()),
        BinaryOp::GreaterOrEqual => return Ok((a >= b).into()),
        BinaryOp::Divide | BinaryOp::Remainder if b.is_zero() => {
            return fault("DivisionByZero", divisor, "nothing can be divided by zero");
        }
        BinaryOp::Add => a.add(b),
        BinaryOp::Subtract => a.sub(b),
        BinaryOp::Multiply => a.mul(b),
        BinaryOp::Divide => a.div(b),
        _ => a.rem(b),
    };
    match number {
        Some(number) => Ok(number.into()),
        None => fault("OutOfRange", span, "the result is too large"),
    }
}
